"""The handwritten digits that come with scikit-learn."""

import numpy as np

from keras_vae.data.base import ArrayExamples, Indexed, Source


def source() -> Source:
    """Returns 1,797 handwritten digits, 8x8 grey levels 0..16, real data.

    The last 297 of a fixed shuffle are the test set.

    Reference: Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.images))
    images, labels = found.images.astype(np.uint8)[order, ..., None], found.target[order]
    train, test = (Indexed(ArrayExamples(images[part]), labels[part]) for part in _PARTS)
    names = tuple(str(digit) for digit in range(10))
    return Source("digits", train, None, test, scale=16.0, binarize="dynamic", label_names=names)


_PARTS = (slice(None, 1500), slice(1500, None))
