"""`VAETransformer`: a VAE as an estimator of scikit-learn, for the rows of a matrix.

scikit-learn loads with this module, which `import keras_vae` leaves out.
"""

import contextlib
import random
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from keras_vae import _checks, _registry, configs
from keras_vae.data.base import AHEAD, ArrayExamples, Indexed
from keras_vae.loading import load
from keras_vae.model import VAE

#: What is accepted without a copy; other numbers become the first.
_DTYPES = (np.float64, np.float32)
#: Rows that the networks see at a time. Blocks are always full, since float32 sums depend in their
#: last bits on how many rows are multiplied together.
_ROWS, _SCORED_ROWS = 256, 16
_PARTS = ("likelihood", "network", "posterior", "prior", "objective")
#: Held while Python's and NumPy's global generators are borrowed, since joblib may use threads.
_BORROWED = threading.Lock()


class VAETransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """A variational autoencoder of rows: codes, samples, and log p(x) as the score.

    `fit` trains as `keras-vae train` does: Adam, warmed up over the first twentieth of the steps
    and brought to 0 along half a cosine, from a decoder at the mean of the data. y is ignored. For
    images, labels or size factors use `keras_vae.VAE`; `model_` is one.

    Args:
        latent_dim: D, the number of latent dimensions.
        network: Encoder and decoder: a name, a name with options, a config, or an instance, which
            is copied. None fits the shape.
        likelihood: p(x|z), as above. None is "bernoulli" where X holds nothing but 0 and 1, and
            "normal:variance=shared" otherwise.
        posterior: q(z|x), as above.
        prior: p(z), as above.
        objective: What training minimises, as above.
        epochs: Passes over X.
        batch_size: Rows per step.
        learning_rate: Of Adam at its highest.
        standardize: Whether a likelihood of real values sees columns of mean 0 and variance 1;
            what is returned is in the units of X all the same, densities too. Likelihoods of other
            values, such as counts, see X as it is.
        num_samples: Draws of z per row in `score_samples` and `score`.
        random_state: Of weights, order and noise: a whole number, a `numpy.random.RandomState`, or
            None, which takes a number from NumPy's global generator as estimators do. No global
            generator is touched otherwise.
        verbose: 0 for silence, 1 for Keras's progress bars, 2 for a line per epoch.

    Attributes:
        model_: The fitted `keras_vae.VAE`, of standardised rows if `scaler_` is there.
        scaler_: The `StandardScaler` of X, or None.
        history_: What each epoch logged, by name; losses are in nats per row.
        seed_: The whole number that `random_state` gave.
        n_features_in_: Columns of X.
        feature_names_in_: Their names, where X was a frame with names.

    Pickles hold the model as the bytes of a `.keras` file and strategies as their configs. As with
    every pickle, open only those you trust.

    Example:
    >>> import numpy as np
    >>> from keras_vae.sklearn import VAETransformer
    >>> X = np.random.default_rng(0).normal(size=(40, 3))
    >>> vae = VAETransformer(latent_dim=2, epochs=2, random_state=0).fit(X)
    >>> vae.transform(X).shape, vae.score_samples(X).shape, vae.sample(5).shape
    ((40, 2), (40,), (5, 3))
    """

    def __init__(
        self,
        latent_dim: int = 2,
        *,
        network: Any = None,
        likelihood: Any = None,
        posterior: Any = "diagonal_normal",
        prior: Any = "standard_normal",
        objective: Any = "elbo",
        epochs: int = 100,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        standardize: bool = True,
        num_samples: int = 100,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.latent_dim = latent_dim
        self.network = network
        self.likelihood = likelihood
        self.posterior = posterior
        self.prior = prior
        self.objective = objective
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.standardize = standardize
        self.num_samples = num_samples
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "VAETransformer":
        """Trains a new model on X (n, n_features), and returns the estimator; y is ignored.

        Raises:
            ValueError, TypeError: for X that is sparse, not finite or outside the likelihood's
                support, and for arguments that are wrong or fit one another not.
        """
        X = validate_data(self, X, dtype=_DTYPES)
        epochs, batch_size = (
            _checks.integer(n, getattr(self, n)) for n in ("epochs", "batch_size")
        )
        rate = _checks.number("learning_rate", self.learning_rate, 0.0, above=True)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with _seeded(seed):
            vae = self._composed(X, seed)
            scaler = _scaler().fit(X) if self._standardizes(vae) else None
            events = _events(X, scaler)
            _checks.array_support(events, vae.likelihood.support, vae.likelihood.short_name)
            vae.adapt(events)
        steps = -(-len(events) // batch_size)
        vae.compile(keras.optimizers.Adam(configs.learning_rate(rate, epochs * steps)))
        batches = _shuffled(events, batch_size, epochs, seed)
        fitted = vae.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=self.verbose)
        # Together, so that a fit that fails leaves what there was.
        self.model_, self.scaler_, self.history_, self.seed_ = vae, scaler, fitted.history, seed
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Returns the means of q(z|x), (n, D), for X (n, n_features), in the dtype of X."""
        X = self._checked(X)
        codes = _in_blocks(_mean_code(self.model_), _events(X, self.scaler_), _ROWS)
        return codes.astype(X.dtype, copy=False)

    def inverse_transform(self, X: Any) -> np.ndarray:
        """Returns the means of p(x|z), (n, n_features), for codes X (n, D), in the dtype of X."""
        check_is_fitted(self, "model_")
        X = check_array(X, dtype=_DTYPES, input_name="X")
        means = _in_blocks(self.model_.decode, X.astype(np.float32), _ROWS)
        return self._restored(means).astype(X.dtype, copy=False)

    def sample(self, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Returns new rows, z drawn from p(z) and x from p(x|z), (n_samples, n_features), float64.

        Args:
            n_samples: How many.
            random_state: As that of the constructor; the same whole number gives the same rows.
        """
        check_is_fitted(self, "model_")
        n_samples = _checks.integer("n_samples", n_samples)
        seed = check_random_state(random_state).randint(2**31 - 1, size=2)
        return self._restored(self.model_.sample(n_samples, seed=seed).x)

    def score_samples(self, X: Any) -> np.ndarray:
        """Returns log p(x) of each row of X (n, n_features), (n,), float64, in nats.

        It is estimated by importance sampling from q(z|x) with `num_samples` draws, a lower bound
        in expectation that more draws tighten (Burda et al., Importance Weighted Autoencoders,
        2016, eq. 8). The draws depend on `seed_` and the row alone. Of real values it is a density
        in the units of X: log p(u) - sum_j log s_j for u = (x - m) / s.

        Raises:
            ValueError: if the posterior has no density, or X is outside the support.
        """
        X = self._checked(X)

        def scores(rows: np.ndarray, batch_size: int) -> np.ndarray:
            return self.model_.log_likelihood(rows, self.num_samples, self.seed_, batch_size)

        log_px = _in_blocks(scores, _events(X, self.scaler_), _SCORED_ROWS).astype(np.float64)
        return log_px if self.scaler_ is None else log_px - np.log(self.scaler_.scale_).sum()

    def score(self, X: Any, y: Any = None) -> float:
        """Returns the mean of `score_samples`, what searches maximise; y is ignored."""
        return float(self.score_samples(X).mean())

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state["_configs"] = {
            name: keras.saving.serialize_keras_object(state.pop(name))
            for name in _PARTS
            if isinstance(state[name], _registry.Configurable)
        }
        if "model_" in state:
            state["model_"] = _to_bytes(state["model_"])
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        state = dict(state)
        for name, config in state.pop("_configs").items():
            state[name] = _registry.get(name, config)
        if "model_" in state:
            state["model_"] = _from_bytes(state["model_"])
        super().__setstate__(state)

    @property
    def _n_features_out(self) -> int:
        return self.model_.latent.latent_dim

    def _composed(self, X: np.ndarray, seed: int) -> VAE:
        """Returns the model of the arguments, with new weights."""
        parts = {name: _copied(name, getattr(self, name)) for name in _PARTS}
        if parts["likelihood"] is None:
            binary = bool(((X == 0) | (X == 1)).all())
            parts["likelihood"] = configs.default_likelihood("binary" if binary else "real")
        return VAE((X.shape[1],), self.latent_dim, seed=seed, **parts)

    def _standardizes(self, vae: VAE) -> bool:
        return _checks.flag("standardize", self.standardize) and vae.likelihood.support == "real"

    def _checked(self, X: Any) -> np.ndarray:
        check_is_fitted(self, "model_")
        return validate_data(self, X, dtype=_DTYPES, reset=False)

    def _restored(self, events: np.ndarray) -> np.ndarray:
        """Returns rows of the model in the units of X, float64."""
        rows = events.astype(np.float64)
        return rows if self.scaler_ is None else self.scaler_.inverse_transform(rows)


def _events(X: np.ndarray, scaler: StandardScaler | None) -> np.ndarray:
    """Returns rows in the units that the model is of, float32."""
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the likelihood
        return (X if scaler is None else scaler.transform(X)).astype(np.float32)


def _scaler() -> StandardScaler:
    """Returns one that gives arrays, also where scikit-learn is set to give frames."""
    return StandardScaler().set_output(transform="default")


def _copied(family: str, part: Any) -> Any:
    """Returns an argument, or for an instance another of its config, as models own their parts."""
    if not isinstance(part, _registry.Configurable):
        return part
    return _registry.get(family, keras.saving.serialize_keras_object(part))


def _shuffled(events: np.ndarray, batch_size: int, epochs: int, seed: int) -> tf.data.Dataset:
    """Returns the batches of all epochs, in an order that is a function of the seed alone.

    They are one dataset, since TensorFlow takes longer to begin one than to go through a small one.
    """
    rows = Indexed(ArrayExamples(events))

    def begin(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        key = tf.random.experimental.stateless_fold_in(tf.constant([0, seed]), number)
        return key, tf.constant(0, tf.int64)

    passes = tf.data.Dataset.range(epochs, output_type=tf.int32).map(begin)
    found = rows.batches(batch_size, labels=False, passes=passes, shuffle=True)
    batches = found.map(lambda each: each["x"]).prefetch(AHEAD)
    batches.num_examples = len(events)  # which some objectives ask for
    return batches


def _mean_code(vae: VAE) -> Callable[..., np.ndarray]:
    return lambda rows, batch_size: vae.encode(rows, batch_size).mean


def _in_blocks(function: Callable[..., np.ndarray], rows: np.ndarray, size: int) -> np.ndarray:
    """Returns a function of rows, (n, ...), that sees `size` of them at a time, never fewer."""
    filling = np.repeat(rows[-1:], -len(rows) % size, axis=0)
    return function(np.concatenate([rows, filling]), batch_size=size)[: len(rows)]


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seeds the global generators that initial weights come from, and gives them back after."""
    with _BORROWED:
        python, numpy = random.getstate(), np.random.get_state()
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _to_bytes(vae: VAE) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        vae.save(path)
        return path.read_bytes()


def _from_bytes(content: bytes) -> VAE:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return load(path)
