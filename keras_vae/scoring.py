"""What a trained model says of data: bounds and estimates of log p(x), and missing entries."""

import warnings
from typing import Any

import numpy as np
import tensorflow as tf

from keras_vae import _checks, _sides, imputation
from keras_vae._types import Given, Tensor
from keras_vae.estimators import SCHEDULES, LogLikelihood
from keras_vae.graph import Annealed, ELBOTerms
from keras_vae.imputation import Imputation
from keras_vae.inference import Inference, rows_of

#: The methods whose negative is a score, and how many draws per example they take by default.
SCORES = {"log_likelihood": 500, "elbo": 1}


class Scoring(Inference):
    """The methods of `VAE` that score events; see `Inference` for how these come."""

    def elbo(
        self,
        x: Any,
        num_samples: int = 1,
        seed: Any = 0,
        batch_size: int = 256,
        condition: Any = None,
    ) -> np.ndarray:
        """Returns the evidence lower bound at beta = 1 of each example, (n,), in nats.

        Args:
            x: Events (n, E).
            num_samples: Draws of z per example that the reconstruction term is averaged over.
            seed: Of the draws, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time; without effect on the values.
            condition: For a model that has one: one for each example, or one for all.

        Raises:
            ValueError: if the posterior has no density, or x is outside the support.
        """
        x = _sides.joined(x, condition=condition)
        return self._scored("elbo", self.graph.elbo, x, num_samples, seed, batch_size)

    def elbo_terms(
        self,
        x: Any,
        num_samples: int = 1,
        seed: Any = 0,
        batch_size: int = 256,
        condition: Any = None,
    ) -> ELBOTerms:
        """Returns the two terms whose negative sum is `elbo`, each (n,), in nats."""
        x = _sides.joined(x, condition=condition)
        function = self.graph.elbo_terms
        return self._scored("elbo_terms", function, x, num_samples, seed, batch_size)

    def reconstruction_loss(
        self, x: Any, batch_size: int = 256, condition: Any = None
    ) -> np.ndarray:
        """Returns -log p(x|z) at the mean of q(z|x) of each example, (n,), in nats."""
        x = _sides.joined(x, condition=condition)
        function = self.graph.reconstruction_loss
        return self._in_batches("reconstruction_loss", function, x, batch_size)

    def kl_parts(
        self, x: Any, seed: Any = 0, batch_size: int = 256, condition: Any = None
    ) -> np.ndarray:
        """Returns KL(q(z|x) || p(z)) by latent dimension, (n, D), in nats; the sum is the KL.

        Where it does not split by dimension there is one column, or one for each stochastic layer.
        Arguments and errors are those of `elbo`.
        """
        self._check_density("kl_parts")
        seed = tf.constant(_checks.seed_pair(seed))
        x = _sides.joined(x, condition=condition)
        return self._in_batches("kl_parts", self.graph.kl_parts, x, batch_size, seed)

    def log_likelihood(
        self,
        x: Any,
        num_samples: int = 500,
        seed: Any = 0,
        batch_size: int = 100,
        condition: Any = None,
    ) -> np.ndarray:
        """Returns log p(x) of each example, (n,), in nats, by importance sampling from q(z|x).

        Arguments and errors are those of `elbo`. The estimate is log of the mean of
        p(x|z) p(z) / q(z|x) over the samples, a lower bound in expectation.
        """
        return self.importance_sample(x, num_samples, seed, batch_size, condition).log_likelihood

    def score(
        self,
        x: Any,
        by: str = "log_likelihood",
        num_samples: int | None = None,
        seed: Any = 0,
        batch_size: int = 100,
        condition: Any = None,
    ) -> np.ndarray:
        """Returns how strange the model finds each example, (n,), in nats: higher is stranger.

        It is -log p(x) or the negative evidence lower bound, which is no lower in expectation. Data
        of another kind may well score lower than the model's own; see docs/anomalies.md.

        Args:
            x: Events (n, E).
            by: "log_likelihood" or "elbo", the method whose negative it is.
            num_samples: Draws of z per example; None takes that method's default, 500 or 1.
            seed: Of the draws, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time; without effect on the values.
            condition: For a model that has one: one for each example, or one for all.

        Raises:
            ValueError: for another `by`, a posterior without density, or x outside the support.

        Reference: Nalisnick et al., Do Deep Generative Models Know What They Don't Know?, 2019.
        """
        draws = SCORES[_checks.one_of("by", by, tuple(SCORES))]
        draws = draws if num_samples is None else num_samples
        return -getattr(self, by)(x, draws, seed, batch_size, condition)

    def importance_sample(
        self,
        x: Any,
        num_samples: int = 500,
        seed: Any = 0,
        batch_size: int = 100,
        condition: Any = None,
    ) -> LogLikelihood:
        """Returns `log_likelihood` with its Monte Carlo error, effective sample size and tail."""
        x = _sides.joined(x, condition=condition)
        function = self.graph.log_likelihood
        return self._scored("log_likelihood", function, x, num_samples, seed, batch_size)

    def impute(
        self,
        x: Any,
        num_samples: int = 1000,
        num_draws: int = 20,
        seed: Any = 0,
        batch_size: int = 100,
        condition: Any = None,
    ) -> Imputation:
        """Returns what missing entries of x (n, E) may have been, given those that were observed.

        Samples of q(z|x_observed) are weighed as in `log_likelihood`. What was observed stays as it
        is, to the bit.

        Args:
            x: Events (n, E) with NaN where an entry is missing, or {"x": x, "mask": mask}.
            num_samples: Samples z per example, which the means and the weights of draws are from.
            num_draws: How many draws to return of each example, R.
            seed: Of the draws, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time; without effect on the values.
            condition: For a model that has one: one for each example, or one for all.

        Raises:
            ValueError: if the model does not take missing entries, its posterior has no density, or
                x is outside the support.

        Reference: Mattei and Frellsen, MIWAE: Deep Generative Modelling and Imputation of
        Incomplete Data Sets, 2019, section 3.
        """
        if not self.missing:
            raise ValueError(
                "impute needs a model that takes missing entries; expected one that was made, and "
                "trained, with missing=True."
            )
        num_draws = _checks.integer("num_draws", num_draws)

        def function(x: Tensor, samples: Tensor, seed: Tensor, given: Given) -> Imputation:
            return imputation.impute(self.graph, x, samples, num_draws, seed, given)

        x = _sides.joined(x, condition=condition)
        name = f"impute {num_draws}"
        found = self._scored(name, function, x, num_samples, seed, batch_size)
        unknown = int(np.isnan(found.x).reshape(len(found.x), -1).any(1).sum())
        if unknown:
            warnings.warn(
                f"{unknown} of {len(found.x)} examples could not be imputed: log p of what was "
                "observed is beyond float32, so missing entries stay NaN. Look for outliers among "
                "what was observed.",
                stacklevel=2,
            )
        return found._replace(draws=np.moveaxis(found.draws, 1, 0))

    def prior_sample(
        self,
        x: Any,
        num_samples: int = 500,
        seed: Any = 0,
        batch_size: int = 100,
        condition: Any = None,
    ) -> LogLikelihood:
        """Returns log p(x) by the mean of p(x|z) over draws of p(z), plain Monte Carlo.

        It needs no posterior, and fails where the data says much of z: then hardly a draw of p(z)
        explains x, and the estimate is far too low. Arguments are those of `elbo`.
        """
        x = _sides.joined(x, condition=condition)
        function = self.graph.prior_log_likelihood
        return self._scored("prior_sample", function, x, num_samples, seed, batch_size, False)

    def annealed_sample(
        self,
        x: Any,
        num_chains: int = 16,
        temperatures: int = 500,
        leapfrog_steps: int = 10,
        seed: Any = 0,
        batch_size: int = 100,
        schedule: str = "sigmoid",
        start: str = "prior",
        origin: Any = None,
        condition: Any = None,
    ) -> Annealed:
        """Returns log p(x) of each example by annealed importance sampling, (n,), in nats.

        Chains go from p(z) to the posterior by Hamiltonian transitions. The value is a lower bound
        in expectation, which more temperatures tighten. Each chain takes temperatures times
        leapfrog_steps gradients of the decoder, and so do up to 16 chains of a pilot run, which
        finds the step sizes. They are fixed in the run that is weighed, so adapting does not bias
        it.

        Args:
            x: Events (n, E).
            num_chains: Independent chains per example.
            temperatures: Steps on the geometric path.
            leapfrog_steps: Of each Hamiltonian transition.
            seed: Of the chains, which depend on each example's own bits and not on the batch.
            batch_size: Examples at a time.
            schedule: Of the inverse temperatures: "sigmoid" or "linear".
            start: "prior", or "posterior" to begin at q(z|x).
            origin: The latents (n, D) that x was simulated from, as `sample` returns them. Then the
                chains run backwards, and the value is an upper bound in expectation.
            condition: As in `elbo`.

        Raises:
            ValueError: for an unknown schedule or start, x outside the support, or q(z|x) without
                density as start.

        References: Neal, Annealed Importance Sampling, 2001; Grosse, Ghahramani and Adams,
        Sandwiching the Marginal Likelihood Using Bidirectional Monte Carlo, 2015.
        """
        _checks.one_of("schedule", schedule, SCHEDULES)
        if _checks.one_of("start", start, ("prior", "posterior")) == "posterior":
            self._check_density("annealed_sample(start='posterior')")
        counts = {"num_chains": num_chains, "temperatures": temperatures}
        counts["leapfrog_steps"] = leapfrog_steps
        whole = [
            tf.constant(_checks.integer(name, value, maximum=2**31 - 1))
            for name, value in counts.items()
        ]
        rows = self._supported(_sides.joined(x, condition=condition))
        if origin is not None:
            rows["origin"] = rows_of("origin", origin, (self.latent.latent_dim,))

        def function(x: Tensor, *whole: Tensor, given: Given, **origin: Tensor) -> Annealed:
            return self.graph.annealed(
                x, *whole, schedule=schedule, start=start, given=given, **origin
            )

        name = f"annealed {schedule} {start}"
        seed = tf.constant(_checks.seed_pair(seed))
        return self._over_batches(name, function, rows, batch_size, *whole, seed)

    def _scored(
        self,
        name: str,
        function: Any,
        x: Any,
        num_samples: int,
        seed: Any,
        batch_size: int,
        density: bool = True,
    ) -> Any:
        if density:
            self._check_density(name.split()[0])
        num_samples = tf.constant(_checks.integer("num_samples", num_samples, maximum=2**31 - 1))
        seed = tf.constant(_checks.seed_pair(seed))
        rows = self._supported(x)
        return self._over_batches(name, function, rows, batch_size, num_samples, seed)

    def _supported(self, x: Any) -> dict[str, np.ndarray]:
        rows = self._sided(x)
        self._check_support(rows["x"])
        return rows

    def _check_density(self, name: str) -> None:
        if "density" not in self.latent.offers:
            raise ValueError(
                f"{name} needs a posterior with a density; this model's posterior has none, so "
                "there is no bound on log p(x). Use 'diagonal_normal' instead of 'point'."
            )
