"""Runs in TensorBoard: the bound and its parts, the latents, and what the model generates."""

import importlib.util
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides, distribute, evaluation, plots
from keras_vae.callbacks import base

#: How many pictures of a tag are written when their interval is left open: TensorBoard's page keeps
#: as many.
PICTURES = 10
#: Examples that the gradient is taken over, and pairs of input and reconstruction.
GRADIENT_EXAMPLES, PAIRS = 100, 16
#: Pixels of the Projector's largest sprite, in height and width.
SPRITE = 8192
#: The values of the last epoch that stand beside the hyperparameters.
FINAL = ("loss", "elbo", "val_loss", "val_elbo")


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback, and what there is to see of a variational autoencoder.

    Every epoch, beside the values of training and validation and the learning rate: the weights of
    the objective's terms (`weights/beta`), the number of active latent dimensions, the gradient's
    norm, and the examples (or the weights of them) per second. At an interval, as pictures from
    fixed seeds and fixed examples: reconstructions, samples from p(z), each latent by itself, the
    plane of two latents, the KL of each dimension; and as histograms the means and standard
    deviations of q(z|x). At the
    start the graph of encoder and decoder and the hyperparameters, at the end the posterior means
    for the Projector, with labels and small pictures.

    On several workers the chief alone writes. Nothing of it changes the training. It costs less
    than 5 % of the time of an epoch of MNIST; `benchmarks/tensorboard_cost.py` measures it.

    Args:
        log_dir: Folder of the event files.
        image_freq: Every how many epochs there are pictures and histograms, and of the last state;
            0 for never. By default so that there are at most ten of each: TensorBoard shows no
            more, and the disk stays free.
        num_images: Samples in a picture.
        examples: What is watched: an array (n, E), a pair (x, labels), or a `tf.data.Dataset` of
            batches of them. By default the validation data, else training data that is an array;
            without either, what needs examples is left out.
        num_examples: At most so many of them, the first.
        label_names: What the labels 0, 1, ... are called in the Projector.
        hparams: Hyperparameters by name; nested ones are flattened. By default the model's parts.
        seed: Of the samples; the same latents are decoded each time.
        **kwargs: Those of `keras.callbacks.TensorBoard`.

    Raises:
        ImportError: if tensorboard is not installed, at once and not after an epoch.
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        image_freq: int | None = None,
        num_images: int = 64,
        examples: Any = None,
        num_examples: int = 1000,
        label_names: Sequence[str] = (),
        hparams: Mapping[str, Any] | None = None,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        if importlib.util.find_spec("tensorboard") is None:
            raise ImportError(
                "The TensorBoard callback needs the package tensorboard, which is not installed: "
                "run `pip install tensorboard`."
            )
        super().__init__(log_dir=os.fspath(log_dir), **kwargs)
        by_epoch = self.update_freq == "epoch" and not kwargs.get("profile_batch")
        #: It looks at steps only where it was asked to.
        self.every_steps = None if by_epoch else 1
        self.image_freq = (
            None if image_freq is None else _checks.integer("image_freq", image_freq, 0)
        )
        self.num_images = _checks.integer("num_images", num_images)
        self.examples = examples
        self.num_examples = _checks.integer("num_examples", num_examples)
        self.label_names = tuple(label_names)
        self.hparams = hparams
        self.seed = tuple(_checks.seed_pair(seed).tolist())

    def set_model(self, model: Any) -> None:
        """Takes the model; on workers that are not the chief, every writer writes nothing."""
        self._writes = distribute.is_chief(model.distribute_strategy)
        super().set_model(model)

    @property
    def _train_writer(self) -> Any:
        return super()._train_writer if self._writes else tf.summary.create_noop_writer()

    @property
    def _val_writer(self) -> Any:
        return super()._val_writer if self._writes else tf.summary.create_noop_writer()

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the graph and the hyperparameters, and picks the examples."""
        super().on_train_begin(logs)
        self._first: int | None = None  # a training may start at any epoch
        self._drawn: int | None = None
        self._watched = None
        if not self._writes:
            return
        self._watched = base.watched(self.model, self.examples, self.num_examples)
        _write_hparams(self.log_dir, self.hparams or _hparams_of(self.model))
        if self.write_graph:
            with self._train_writer.as_default():
                tf.summary.graph(self.model.inference_graph())

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        super().on_epoch_begin(epoch, logs)
        self._started, self._speed, self._epoch = time.perf_counter(), None, epoch
        if self._first is None:
            epochs = (self.params or {}).get("epochs") or 1
            self._first, left = epoch, max(epochs - epoch, 1)
            freq = math.ceil(left / (PICTURES - 1)) if self.image_freq is None else self.image_freq
            self._freq = freq

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the step's values, if there is a writer to take them.

        Keras makes them in every step, and drops them where there is none: a tenth of the time.
        """
        due = self._should_write_train_graph or self._should_trace
        if due or tf.summary.should_record_summaries():
            super().on_train_batch_end(batch, logs)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Stops the clock before the validation, which forgets how many examples there were."""
        super().on_test_begin(logs)
        self._measure()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch's values, then pictures and histograms when it is their turn."""
        self._measure()
        with tf.summary.record_if(True):  # an update_freq of batches leaves epochs out
            super().on_epoch_end(epoch, logs)
            if not self._writes:
                return
            with self._train_writer.as_default(epoch):
                self._write_scalars()
                if self._freq and (epoch - (self._first or 0)) % self._freq == 0:
                    self._write_pictures(epoch)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Draws the last state, and writes the Projector's files and the last values."""
        if self._writes and self._first is not None:
            with tf.summary.record_if(True):
                if self._freq and self._drawn != self._epoch:
                    with self._train_writer.as_default(self._epoch):
                        self._write_pictures(self._epoch)
                _write_session_end(self.log_dir, logs or {})
        if self._watched is not None:
            codes = self.model.encode(self._watched.events).mean
            _write_projector(self.log_dir, codes, self._watched, self.label_names)
        super().on_train_end(logs)

    def _measure(self) -> None:
        """Keeps the examples per second of this epoch; several workers cannot count them alone."""
        started, strategy = getattr(self, "_started", None), self.model.distribute_strategy
        if started is None or self._speed is not None or distribute.is_multi_worker(strategy):
            return
        # the weight of an example is 1 unless there are sample weights
        count = float(tf.convert_to_tensor(self.model.metrics[0].count))
        self._speed = count / (time.perf_counter() - started)

    def _write_scalars(self) -> None:
        step = int(tf.convert_to_tensor(self.model.optimizer.iterations))
        for name, value in self.model.objective.weights_at(step).items():
            tf.summary.scalar(f"weights/{name}", value)
        if self._speed is not None:
            tf.summary.scalar("training/examples_per_second", self._speed)
        if self._watched is not None:
            few = _sides.rows(self._watched.events, slice(GRADIENT_EXAMPLES))
            tf.summary.scalar("training/gradient_norm", self.model.gradient_norm(few))
            means = self.model.encode(self._watched.events).mean
            active = int(evaluation.active_dimensions(means).sum())
            tf.summary.scalar("latents/active_units", active)

    def _write_pictures(self, epoch: int) -> None:
        self._drawn = epoch
        model, image = self.model, plots.is_image(self.model.event_shape)
        watched = self._watched
        if image and (model.condition is None or watched is not None):
            events = None if watched is None else watched.events
            condition = _sides.condition_of(events, self.num_images)
            drawn = model.sample(self.num_images, seed=self.seed, condition=condition)
            _picture("samples", _rows(drawn.mean))
            if model.latent.output_dim == 2:
                plane = model.decode(plots.plane_codes(), condition=_sides.condition_of(events, 1))
                _picture("plane", _rows(plane, gap=0))
        if watched is None:
            return
        x, pairs = watched.events, _sides.rows(watched.events, slice(PAIRS))
        encoding = model.encode(x)
        if not np.isfinite(encoding).all():
            return  # the training has diverged, which others say
        tf.summary.histogram("latents/posterior_mean", encoding.mean)
        tf.summary.histogram("latents/posterior_stddev", encoding.stddev)
        kl = evaluation.kl_per_dimension(model, x)
        if image:
            shown = np.nan_to_num(_sides.event_of(pairs), nan=0.5)  # grey where it is missing
            _picture("reconstructions", plots.mosaic(np.stack([shown, model.reconstruct(pairs)])))
        if kl is not None:
            tf.summary.histogram("latents/kl_per_dimension", kl)
            bars = plots.kl_per_dimension(kl, evaluation.active_dimensions(encoding.mean))
            _picture("kl_per_dimension", plots.pixels(bars))
            if image:
                _picture("traversals", plots.mosaic(evaluation.traversals(model, x, kl)[0]))


def _picture(name: str, image: np.ndarray) -> None:
    tf.summary.image(f"pictures/{name}", image[None])


def _rows(images: np.ndarray, gap: int = 1) -> np.ndarray:
    """Returns images (n, H, W, C) as one picture of about as many rows as columns."""
    columns = math.ceil(math.sqrt(len(images)))
    missing = -len(images) % columns
    filled = np.concatenate([images, np.ones((missing, *images.shape[1:]), images.dtype)])
    return plots.mosaic(filled.reshape(-1, columns, *images.shape[1:]), gap)


def _hparams_of(model: Any) -> dict[str, Any]:
    parts = {part: repr(getattr(model, part)) for part in ("likelihood", "latent", "objective")}
    return {**parts, "optimizer": model.optimizer.name, "parameters": model.count_params()}


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Returns nested values by paths of names, each a number, a truth value or words."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{name}/")
        else:
            value = value.item() if isinstance(value, np.generic) else value
            plain = isinstance(value, (bool, int, float, str))
            flat[f"{above}{name}"] = value if plain else str(value)
    return flat


def _write_hparams(folder: str, values: Mapping[str, Any]) -> None:
    from tensorboard.plugins.hparams import api

    flat = _flat(values)
    metrics = [api.Metric(f"final/{name}", display_name=name) for name in FINAL]
    with tf.summary.create_file_writer(folder).as_default(step=0):
        api.hparams_config(hparams=[api.HParam(name) for name in flat], metrics=metrics)
        api.hparams(flat)


def _write_session_end(folder: str, logs: Mapping[str, Any]) -> None:
    """Writes that the training is over, and with what values.

    They stand in the folder of the hyperparameters, since TensorBoard does not find those of
    `train` and `validation` when it is started on this very folder.
    """
    from tensorboard.plugins.hparams import api_pb2, summary

    end = summary.session_end_pb(api_pb2.STATUS_SUCCESS)
    with tf.summary.create_file_writer(folder).as_default(step=0):
        for name in FINAL:
            if name in logs:
                tf.summary.scalar(f"final/{name}", logs[name])
        tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)


def _write_projector(
    folder: str, codes: np.ndarray, watched: base.Watched, names: Sequence[str]
) -> None:
    """Writes codes (n, D), and where there are any their labels and pictures, for the Projector."""
    from google.protobuf import text_format
    from tensorboard.plugins import projector

    config = projector.ProjectorConfig()
    embedding = config.embeddings.add(tensor_name="posterior_mean", tensor_path="codes.tsv")
    rows = ["\t".join(f"{value:.6g}" for value in code) for code in codes]
    _write_lines(folder, "codes.tsv", rows)
    if watched.labels is not None:
        embedding.metadata_path = "labels.tsv"
        words = evaluation.named(watched.labels, names)
        _write_lines(folder, "labels.tsv", [" ".join(str(word).split()) for word in words])
    if plots.is_image(watched.x.shape[1:]):
        embedding.sprite.image_path = "sprite.png"
        images = _small(watched.x)
        height, width = images.shape[1:3]
        embedding.sprite.single_image_dim.extend([width, height])
        pixels = np.uint8(255.0 * np.clip(_rows(images, gap=0), 0.0, 1.0))
        tf.io.write_file(tf.io.gfile.join(folder, "sprite.png"), tf.io.encode_png(pixels))
    _write_lines(folder, "projector_config.pbtxt", [text_format.MessageToString(config)])


def _small(images: np.ndarray) -> np.ndarray:
    """Returns images (n, H, W, C), of which a square must fit the Projector's largest sprite."""
    side = math.ceil(math.sqrt(len(images))) * max(images.shape[1:3])
    every = math.ceil(side / SPRITE)
    return images[:, ::every, ::every]


def _write_lines(folder: str, name: str, lines: Sequence[str]) -> None:
    with tf.io.gfile.GFile(
        tf.io.gfile.join(folder, name), "w"
    ) as file:  # a folder may be elsewhere
        file.write("\n".join(lines) + "\n")
