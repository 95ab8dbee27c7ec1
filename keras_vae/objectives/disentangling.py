"""Objectives that look at the aggregate posterior q(z), the mean of q(z|x) over the data."""

import tensorflow as tf

from keras_vae import _checks, estimators, schedules
from keras_vae._registry import register
from keras_vae._types import LatentPass, LossOutput, Tensor
from keras_vae.objectives.base import Objective, batch_mean, reconstruction_loss
from keras_vae.schedules import Schedule

#: How q(z) is estimated from a batch.
SAMPLINGS = {
    "stratified": estimators.stratified_log_weights,
    "weighted": estimators.weighted_log_weights,
}


@register("objective", "total_correlation")
class TotalCorrelation(Objective):
    """The KL term taken apart, with a weight for each part: beta-TCVAE.

    reconstruction + a I(z; x) + beta TC(z) + c sum_d KL(q(z_d) || p(z_d)), where I is the mutual
    information of z and x under q and TC the total correlation of z, which is 0 where the latent
    dimensions are independent. At a = beta = c = 1 it is the sampled evidence lower bound. q(z) is
    estimated from a batch; on several replicas from each replica's part of it. Sample weights weigh
    the examples' losses, not their part in q(z).

    Args:
        beta: Weight of the total correlation; a number of at least 0, or a schedule.
        mutual_information_weight: a, likewise.
        dimension_kl_weight: c, likewise.
        sampling: "stratified" (without bias) or "weighted".
        data_size: N, the number of training examples; None has `fit` count them.

    Reference: Chen, Li, Grosse and Duvenaud, Isolating Sources of Disentanglement in VAEs, 2018,
    eq. 4.
    """

    own_terms = estimators.Decomposition._fields
    needs = frozenset({"density", "path", "marginals"})
    batch_coupled = per_replica = True

    def __init__(
        self,
        beta: float | str | Schedule = 6.0,
        mutual_information_weight: float | str | Schedule = 1.0,
        dimension_kl_weight: float | str | Schedule = 1.0,
        sampling: str = "stratified",
        data_size: int | None = None,
    ) -> None:
        super().__init__()
        self.beta = self._weight("beta", beta)
        self.mutual_information_weight = self._weight(
            "mutual_information_weight", mutual_information_weight
        )
        self.dimension_kl_weight = self._weight("dimension_kl_weight", dimension_kl_weight)
        self.sampling = _checks.one_of("sampling", sampling, tuple(SAMPLINGS))
        self.data_size = (
            None
            if data_size is None
            else _checks.integer("data_size", data_size, maximum=_checks.LONGEST_SCHEDULE)
        )

    @property
    def trains_prior(self) -> bool:  # type: ignore[override]
        """Whether a learned prior follows the codes: where the last part counts."""
        return self.dimension_kl_weight != schedules.Constant(0.0)

    def _setup(self, latent_dim: int) -> None:
        if self.data_size is None:
            self.num_examples = self.add_weight(
                name="num_examples",
                shape=(),
                dtype="int64",
                initializer="zeros",
                trainable=False,
                aggregation="only_first_replica",
            )

    def begin(self, num_examples: int | None) -> None:
        """Takes the size of the training data, unless it was given.

        Raises:
            ValueError: if it is not known.
        """
        if self.data_size is not None:
            return
        if num_examples is None:
            raise ValueError(
                f"The objective {self.short_name!r} needs the number of training examples, which "
                "cannot be told from the data; expected data_size=..., such as "
                f"{self.short_name}:data_size=60000."
            )
        self.num_examples.assign(num_examples)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        parts = self._decomposed(latent_pass)
        reconstruction, step = reconstruction_loss(latent_pass), latent_pass.step
        loss = (
            reconstruction
            + self.mutual_information_weight(step) * parts.mutual_information
            + self.beta(step) * parts.total_correlation
            + self.dimension_kl_weight(step) * parts.dimension_kl
        )
        return self._output(latent_pass, loss, **parts._asdict())

    def _decomposed(self, latent_pass: LatentPass) -> estimators.Decomposition:
        """Returns the parts of the KL by the mean over the draws, each (B,)."""
        draw = latent_pass.draw
        batch = tf.shape(latent_pass.x)[0]
        size = self.num_examples.value if self.data_size is None else self.data_size
        size = tf.maximum(tf.cast(size, tf.int32), batch)
        found = estimators.decompose(
            draw.log_qz,
            draw.log_pz,
            draw.q.log_prob(draw.z[:, :, None]),
            draw.q.marginals().log_prob(draw.z[:, :, None]),
            SAMPLINGS[self.sampling](batch, size),
        )
        return estimators.Decomposition(*(tf.reduce_mean(part, 0) for part in found))


@register("objective", "dip")
class DIP(Objective):
    """The evidence lower bound, and a pull of the covariance of z towards the identity: DIP-VAE.

    + w_off sum_{i != j} C_ij^2 + w_diag sum_i (C_ii - 1)^2, where C is the covariance of the means
    of q(z|x) over the batch (kind 1), or that of z itself, with the mean of the covariances of
    q(z|x) added (kind 2). Both are over the global batch, by the sample weights.

    Args:
        kind: 1 or 2, DIP-VAE-I or DIP-VAE-II.
        off_diagonal: w_off, a number of at least 0, or a schedule.
        diagonal: w_diag, likewise; None for ten times w_off of kind 1 and once w_off of kind 2, as
            in the paper, at every step.

    Reference: Kumar, Sattigeri and Balakrishnan, Variational Inference of Disentangled Latent
    Concepts from Unlabeled Observations, 2018, eqs. 6 and 7.
    """

    own_terms = ("covariance_loss",)
    needs = frozenset({"density", "path", "moments"})
    batch_coupled = True

    def __init__(
        self,
        kind: int = 2,
        off_diagonal: float | str | Schedule = 10.0,
        diagonal: float | str | Schedule | None = None,
    ) -> None:
        super().__init__()
        self.kind = _checks.one_of("kind", kind, (1, 2))
        self.off_diagonal = self._weight("off_diagonal", off_diagonal)
        self.diagonal = None if diagonal is None else self._weight("diagonal", diagonal)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        reconstruction, kl = reconstruction_loss(latent_pass), latent_pass.draw.kl
        apart = self.covariance(latent_pass) - tf.eye(self.latent_dim)
        squares = tf.square(apart)
        diagonal = tf.reduce_sum(tf.linalg.diag_part(squares))
        off_diagonal = tf.reduce_sum(squares) - diagonal
        step = latent_pass.step
        penalty = self.off_diagonal(step) * off_diagonal + self.diagonal_at(step) * diagonal
        penalty *= tf.ones_like(kl)
        return self._output(latent_pass, reconstruction + kl + penalty, covariance_loss=penalty)

    def diagonal_at(self, step: Tensor | int) -> Tensor:
        """Returns w_diag at a step of the optimiser."""
        if self.diagonal is not None:
            return self.diagonal(step)
        return (10.0 if self.kind == 1 else 1.0) * self.off_diagonal(step)

    def covariance(self, latent_pass: LatentPass) -> Tensor:
        """Returns the covariance that is pulled, (D, D), divided by the size of the batch."""
        q, weights = latent_pass.draw.q, latent_pass.weights
        means = q.mean()
        centred = means - batch_mean(means, weights)
        covariance = batch_mean(centred[:, :, None] * centred[:, None, :], weights)
        return covariance if self.kind == 1 else covariance + batch_mean(q.covariance(), weights)


@register("objective", "mmd")
class MMD(Objective):
    """reconstruction + kl_weight KL + weight MMD^2(q(z), p(z)): InfoVAE; at kl_weight 0 a WAE.

    The maximum mean discrepancy presses the codes as a whole towards p(z) and not those of each
    example, so they may keep telling of x. It is estimated without bias between the codes of a
    batch (on several replicas of each one's part) and as many draws of p(z); for the batch to say
    anything it should hold some hundreds. Sample weights weigh the examples' losses, not their part
    in the discrepancy.

    With a posterior that has no density, such as "point", only kl_weight 0 goes. A learned prior
    follows the codes by the KL term, and by the draws of it, which tell its mixture weights
    nothing.

    Args:
        weight: Of the discrepancy; a number of at least 0, or a schedule.
        kl_weight: Of the KL term, likewise. In the paper's letters it is 1 - alpha, and weight is
            alpha + lambda - 1.
        kernel: "imq" or "rbf"; see `keras_vae.estimators.mmd2`.

    References: Zhao, Song and Ermon, InfoVAE, 2019, eq. 6; Tolstikhin et al., Wasserstein
    Auto-Encoders, 2018, algorithm 2.
    """

    batch_coupled = per_replica = True

    def __init__(
        self,
        weight: float | str | Schedule = 1000.0,
        kl_weight: float | str | Schedule = 0.0,
        kernel: str = "imq",
    ) -> None:
        super().__init__()
        self.weight = self._weight("weight", weight)
        self.kl_weight = self._weight("kl_weight", kl_weight)
        self.kernel = _checks.one_of("kernel", kernel, estimators.KERNELS)

    @property
    def needs(self) -> frozenset[str]:  # type: ignore[override]
        """What it asks of the posterior: a density where the KL term counts."""
        free = self.kl_weight == schedules.Constant(0.0)
        return frozenset({"path"}) if free else frozenset({"path", "density"})

    @property
    def trains_prior(self) -> bool:  # type: ignore[override]
        """Whether a learned prior follows the codes: by the KL term, where that counts."""
        return "density" in self.needs

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms, and the weights that are schedules."""
        kl = ("kl_loss",) if "density" in self.needs else ()
        return ("reconstruction_loss", *kl, "mmd_loss", *self.scheduled)

    def _evaluate(self, latent_pass: LatentPass) -> LossOutput:
        draw, step = latent_pass.draw, latent_pass.step
        loss = reconstruction_loss(latent_pass)
        if "density" in self.needs:
            loss += self.kl_weight(step) * draw.kl
        codes = tf.reshape(draw.z, [-1, self.latent_dim])
        drawn = draw.prior.sample(tf.shape(codes)[0], latent_pass.seed)
        discrepancy = estimators.mmd2(codes, drawn, self.kernel) * tf.ones_like(loss)
        loss += self.weight(step) * discrepancy
        return self._output(latent_pass, loss, mmd_loss=discrepancy)
