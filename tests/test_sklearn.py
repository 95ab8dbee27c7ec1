"""The estimator: scikit-learn's own checks, exact densities, seeds, pickles, searches."""

import io
import pickle
import random

import joblib
import keras
import numpy as np
import pandas as pd
import pytest
import scipy.integrate
import scipy.sparse
import scipy.stats
import tensorflow as tf
from linear_gaussian import LinearGaussian
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_checks

import keras_vae as kv
from keras_vae.sklearn import VAETransformer

SMALL = {"network": "dense:widths=[8]", "epochs": 2, "num_samples": 5, "random_state": 0}
#: Checks that scikit-learn has its own estimators pass besides `check_estimator`.
MORE_CHECKS = (
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_set_output_transform_pandas",
    "check_transformer_get_feature_names_out",
    *(
        pytest.param(name, marks=pytest.mark.slow)
        for name in (
            "check_set_output_transform",
            "check_transformer_get_feature_names_out_pandas",
        )
    ),
)


def small(**options):
    return VAETransformer(**{**SMALL, **options})


@pytest.fixture(scope="module")
def matrix():
    """Sixty rows of three correlated columns, far from standardised."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(60, 2)) @ rng.normal(size=(2, 3)) * [1e-3, 1.0, 50.0] + [5.0, -2.0, 1e4]


@pytest.fixture(scope="module")
def fitted(matrix):
    return small().fit(matrix)


@pytest.mark.slow
@estimator_checks.parametrize_with_checks([small(epochs=1, random_state=None)])
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:X .*feature names:UserWarning")  # the checks mix both
@pytest.mark.parametrize("name", MORE_CHECKS)
def test_it_does_what_is_asked_of_scikit_learns_own(name):
    getattr(estimator_checks, name)("VAETransformer", small(epochs=1))


# Values


@pytest.fixture
def exact(rng):
    """An estimator whose model is known, of columns with other means and scales; and the truth."""
    truth, scale, shift = LinearGaussian(), 10.0 ** np.arange(-2.0, 3.0), rng.normal(size=5)
    x = truth.sample(50) * scale + shift
    estimator = small().fit(x)
    estimator.model_, estimator.scaler_ = truth.vae, StandardScaler()
    estimator.scaler_.fit(np.stack([shift - scale, shift + scale]))
    return estimator, truth, x, scale, shift


def test_scores_are_log_densities_in_the_units_of_the_data(exact):
    estimator, truth, x, scale, shift = exact
    covariance = truth.weights @ truth.weights.T + 0.7**2 * np.eye(5)
    density = scipy.stats.multivariate_normal(
        shift + scale * truth.bias, scale[:, None] * covariance * scale, allow_singular=True
    )
    np.testing.assert_allclose(estimator.score_samples(x), density.logpdf(x), atol=1e-4)
    assert estimator.score(x) == pytest.approx(density.logpdf(x).mean(), abs=1e-4)


def test_codes_and_what_they_decode_to_are_those_of_the_standardised_model(exact):
    estimator, truth, x, scale, shift = exact
    centred = (x - shift) / scale - truth.bias
    codes = centred @ truth.weights / 0.7**2 / truth.precision
    np.testing.assert_allclose(estimator.transform(x), codes, atol=1e-5)
    means = shift + scale * (codes @ truth.weights.T + truth.bias)
    np.testing.assert_allclose((estimator.inverse_transform(codes) - means) / scale, 0, atol=1e-5)


def test_samples_have_the_moments_of_the_model_in_the_units_of_the_data(exact):
    estimator, truth, _, scale, shift = exact
    drawn = (estimator.sample(40_000, random_state=0) - shift) / scale
    covariance = truth.weights @ truth.weights.T + 0.7**2 * np.eye(5)
    np.testing.assert_allclose(drawn.mean(0), truth.bias, atol=5 * 1.7 / 200)
    np.testing.assert_allclose(np.cov(drawn, rowvar=False), covariance, atol=0.1)


def test_the_density_of_a_column_integrates_to_one():
    x = 1e5 + 1e-2 * np.random.default_rng(0).standard_t(5, (200, 1))
    estimator = small(latent_dim=1, epochs=20, num_samples=300).fit(x)
    grid = 1e5 + np.linspace(-0.3, 0.3, 800)
    density = np.exp(estimator.score_samples(grid[:, None]))
    assert scipy.integrate.trapezoid(density, grid) == pytest.approx(1.0, abs=0.02)


def test_training_raises_the_score(matrix):
    before = small(learning_rate=1e-9).fit(matrix)
    after = small(epochs=40, learning_rate=1e-2).fit(matrix)
    assert after.score(matrix) > before.score(matrix) + 0.5
    losses = after.history_["loss"]
    assert len(losses) == 40
    assert losses[-1] < losses[0]


def test_the_likelihood_is_chosen_by_the_values(binary, matrix, fitted):
    estimator = small().fit(binary)
    assert estimator.model_.likelihood.short_name == "bernoulli"
    assert estimator.scaler_ is None
    assert set(np.unique(estimator.sample(50, random_state=0))) == {0.0, 1.0}
    means = estimator.inverse_transform(estimator.transform(binary))
    assert ((means > 0) & (means < 1)).all()
    assert fitted.model_.likelihood.variance == "shared"
    np.testing.assert_allclose(fitted.scaler_.mean_, matrix.mean(0))


def test_counts_are_seen_as_they_are(rng):
    x = rng.poisson(3.0, (40, 4))
    estimator = small(likelihood="poisson").fit(x)
    assert estimator.scaler_ is None
    drawn = estimator.sample(30, random_state=0)
    assert ((drawn >= 0) & (drawn == np.round(drawn))).all()
    expected = estimator.model_.log_likelihood(x, 5, estimator.seed_)
    np.testing.assert_allclose(estimator.score_samples(x), expected, rtol=1e-5)


def test_columns_that_never_vary_stay_as_they_are(matrix):
    x = np.concatenate([matrix, np.full((60, 1), 7.0)], 1)
    estimator = small(epochs=40, learning_rate=1e-2).fit(x)
    assert np.isfinite(estimator.score_samples(x)).all()
    means = estimator.inverse_transform(estimator.transform(x))
    np.testing.assert_allclose(means[:, 3], 7.0, atol=0.5)


def test_without_standardising_the_model_sees_the_data(matrix):
    x = StandardScaler().fit_transform(matrix)
    estimator = small(standardize=False).fit(x)
    assert estimator.scaler_ is None
    expected = small().fit(matrix).score(matrix) + np.log(matrix.std(0)).sum()
    assert estimator.score(x) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("method", ["transform", "score_samples"])
def test_what_a_row_gives_depends_on_no_other_row(fitted, matrix, method):
    function = getattr(fitted, method)
    x = np.tile(matrix, (5, 1))[:290]
    whole = function(x)
    for rows in (slice(0, 1), slice(289, 290), slice(3, 20), slice(10, 275), slice(None, None, -1)):
        np.testing.assert_array_equal(function(x[rows]), whole[rows])


# Seeds


def weights(estimator):
    return np.concatenate([np.ravel(w) for w in estimator.model_.get_weights()])


@pytest.mark.parametrize("prior", ["standard_normal", "vamp:components=3"])
def test_the_same_random_state_gives_the_same_model(matrix, prior):
    first = small(prior=prior).fit(matrix)
    keras.utils.set_random_seed(77)
    second = small(prior=prior).fit(matrix, y=np.arange(60))
    np.testing.assert_array_equal(weights(first), weights(second))
    np.testing.assert_array_equal(first.score_samples(matrix), second.score_samples(matrix))
    assert np.any(weights(first) != weights(small(prior=prior, random_state=1).fit(matrix)))


def test_no_global_generator_is_moved(matrix):
    def draws(meanwhile):
        keras.utils.set_random_seed(5)
        tf.random.normal([1])
        keras.random.normal([1])
        meanwhile()
        kept = keras.layers.Dense(2)
        kept.build((None, 2))
        drawn = [random.random(), np.random.random(), kept.kernel.numpy()]
        return [*drawn, keras.random.normal([2]).numpy(), tf.random.normal([2]).numpy()]

    def use():
        estimator = small(prior="vamp:components=3").fit(matrix)
        estimator.score_samples(matrix)
        estimator.sample(3, random_state=1)

    for still, used in zip(draws(lambda: None), draws(use)):
        np.testing.assert_array_equal(still, used)


def test_the_generators_come_back_when_a_fit_fails(matrix):
    before = random.getstate(), np.random.get_state()[1].tolist()
    with pytest.raises(ValueError, match="Unknown likelihood"):
        small(likelihood="norml").fit(matrix)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_fit_that_fails_leaves_what_there_was(matrix):
    estimator = small().fit(matrix)
    codes, scores = estimator.transform(matrix), estimator.score_samples(matrix)
    with pytest.raises(ValueError, match="outside the support"):
        estimator.set_params(likelihood="poisson", random_state=1).fit(matrix + 1.0)
    np.testing.assert_array_equal(estimator.transform(matrix), codes)
    np.testing.assert_array_equal(estimator.score_samples(matrix), scores)


def test_no_random_state_means_numpys_generator_as_everywhere(matrix):
    seeds = []
    for seed in (3, 3, 4):
        np.random.seed(seed)
        seeds.append(small(random_state=None, epochs=1).fit(matrix).seed_)
    assert seeds[0] == seeds[1] != seeds[2]


def test_samples_follow_their_random_state(fitted):
    drawn = fitted.sample(4, random_state=0)
    assert (drawn.shape, drawn.dtype) == ((4, 3), np.float64)
    np.testing.assert_array_equal(drawn, fitted.sample(4, random_state=0))
    np.testing.assert_array_equal(drawn, fitted.sample(4, np.random.RandomState(0)))
    assert np.any(drawn != fitted.sample(4, random_state=1))
    generator = np.random.RandomState(0)
    assert np.any(fitted.sample(4, generator) != fitted.sample(4, generator))


# Copies


class Recorded(pickle.Unpickler):
    """Notes what a pickle names."""

    def __init__(self, content):
        super().__init__(io.BytesIO(content))
        self.found = set()

    def find_class(self, module, name):
        self.found.add(f"{module}.{name}")
        return super().find_class(module, name)


@pytest.fixture(scope="module")
def of_instances(matrix):
    """A fitted estimator of instances, one of which holds another."""
    parts = {
        "network": kv.networks.Dense([8]),
        "likelihood": kv.likelihoods.Normal("learned"),
        "prior": kv.priors.Mixture(3),
        "objective": kv.objectives.ELBO(beta=kv.schedules.Linear(steps=5)),
    }
    return small(**parts).fit(matrix)


@pytest.mark.parametrize("which", ["fitted", "of_instances"])
def test_pickles_hold_no_keras_object_and_give_the_same_bits(which, matrix, request):
    estimator = request.getfixturevalue(which)
    reader = Recorded(pickle.dumps(estimator))
    again = reader.load()
    named = {name for name in reader.found if name.split(".")[0] in ("keras", "tensorflow")}
    assert not named
    ours = {name for name in reader.found if name.startswith("keras_vae")}
    assert ours == {"keras_vae.sklearn.VAETransformer"}
    for method in ("transform", "score_samples"):
        ours, theirs = getattr(estimator, method)(matrix), getattr(again, method)(matrix)
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(estimator.sample(3, 0), again.sample(3, 0))
    assert again.history_ == estimator.history_
    assert repr(again.get_params()["objective"]) == repr(estimator.objective)


def test_joblib_keeps_a_pipeline(tmp_path, matrix):
    pipeline = make_pipeline(MinMaxScaler(), small()).fit(matrix)
    joblib.dump(pipeline, tmp_path / "pipeline.joblib")
    again = joblib.load(tmp_path / "pipeline.joblib")
    assert again.score(matrix) == pipeline.score(matrix)
    np.testing.assert_array_equal(again.transform(matrix), pipeline.transform(matrix))


def test_instances_are_copied_and_stay_as_they_were(of_instances, matrix):
    assert not of_instances.likelihood.built
    assert not of_instances.prior.built
    assert of_instances.get_params()["prior"] is of_instances.prior
    copied = clone(of_instances)
    assert not hasattr(copied, "model_")
    np.testing.assert_array_equal(weights(copied.fit(matrix)), weights(of_instances))


def test_an_unfitted_one_pickles_too():
    estimator = pickle.loads(pickle.dumps(small(likelihood=kv.likelihoods.Laplace("shared"))))
    assert estimator.likelihood.spread == "shared"
    assert not hasattr(estimator, "model_")


# In company


def test_a_pipeline_goes_there_and_back(matrix):
    pipeline = make_pipeline(MinMaxScaler(), small(network=None, epochs=200, learning_rate=1e-2))
    codes = pipeline.fit_transform(matrix)
    assert codes.shape == (60, 2)
    back = pipeline.inverse_transform(codes)
    assert np.mean((back - matrix) ** 2 / matrix.var(0)) < 0.5
    assert list(pipeline.get_feature_names_out()) == ["vaetransformer0", "vaetransformer1"]


@pytest.mark.slow
def test_a_search_finds_the_best_score_on_threads_as_on_one(matrix):
    estimator, grid = small(learning_rate=1e-2), {"epochs": [1, 20]}
    search = GridSearchCV(estimator, grid, cv=2).fit(matrix)
    assert search.best_params_ == {"epochs": 20}
    by_hand = clone(estimator).set_params(epochs=20).fit(matrix[30:]).score(matrix[:30])
    assert search.cv_results_["split0_test_score"][1] == pytest.approx(by_hand)
    with joblib.parallel_backend("threading", n_jobs=2):
        threaded = GridSearchCV(estimator, grid, cv=2, refit=False).fit(matrix)
    scores = [each.cv_results_["mean_test_score"] for each in (search, threaded)]
    np.testing.assert_array_equal(*scores)


def test_frames_go_in_and_come_out(matrix):
    frame = pd.DataFrame(matrix, columns=["a", "b", "c"], index=np.arange(60) + 5)
    estimator = small().fit(frame).set_output(transform="pandas")
    codes = estimator.transform(frame)
    assert list(codes.columns) == ["vaetransformer0", "vaetransformer1"]
    assert list(codes.index) == list(frame.index)
    assert estimator.inverse_transform(codes).shape == (60, 3)
    with pytest.raises(ValueError, match="feature names should match"):
        estimator.transform(frame.rename(columns={"a": "d"}))


# Mistakes


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 0}, ValueError, "epochs is 0; expected a whole number of at least 1"),
        ({"batch_size": 2.5}, TypeError, "batch_size is 2.5"),
        ({"learning_rate": -1.0}, ValueError, "learning_rate is -1.0"),
        ({"standardize": "yes"}, TypeError, r"standardize is 'yes' \(str\); expected"),
        ({"latent_dim": 0}, ValueError, "latent_dim is 0"),
        ({"network": "dens"}, ValueError, "Did you mean 'dense'"),
        ({"likelihood": "poisson"}, ValueError, "outside the support of the likelihood poisson"),
        ({"posterior": "point"}, ValueError, "'elbo' needs a posterior that offers"),
        ({"prior": 3}, TypeError, "prior is 3"),
    ],
)
def test_mistakes_in_arguments_are_said_by_fit(options, error, words, matrix):
    estimator = small(**options)
    with pytest.raises(error, match=words):
        estimator.fit(matrix)


def test_sparse_rows_are_refused_in_words(matrix):
    with pytest.raises(TypeError, match="Sparse data was passed"):
        small().fit(scipy.sparse.csr_array(matrix))


def test_rows_that_are_lost_in_float32_are_refused(matrix):
    with pytest.raises(ValueError, match="expected finite numbers"):
        small(standardize=False).fit(matrix * 1e40)


def test_codes_of_another_width_are_refused(fitted):
    with pytest.raises(ValueError, match=r"z has shape \(256, 3\); expected \(batch, 2\)"):
        fitted.inverse_transform(np.zeros((4, 3)))


def test_a_fit_that_failed_is_none(matrix):
    estimator = small(epochs=0)
    with pytest.raises(ValueError, match="epochs is 0"):
        estimator.fit(matrix)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        estimator.transform(matrix)


def test_no_samples_are_refused(fitted):
    with pytest.raises(ValueError, match="n_samples is 0; expected a whole number of at least 1"):
        fitted.sample(0)


def test_a_plain_autoencoder_has_codes_and_no_score(matrix):
    estimator = small(posterior="point", objective="reconstruction").fit(matrix)
    assert estimator.transform(matrix).shape == (60, 2)
    with pytest.raises(ValueError, match="needs a posterior with a density"):
        estimator.score_samples(matrix)


def test_scores_outside_the_support_are_refused(binary):
    with pytest.raises(ValueError, match="outside the support of the likelihood bernoulli"):
        small().fit(binary).score_samples(binary + 1.0)


def test_it_talks_when_asked(matrix, capsys):
    small(verbose=2).fit(matrix)
    assert "Epoch 2/2" in capsys.readouterr().out
