"""Families of the user's own: what is found wrong with them when they are made, and what they are made of."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import lmeformula as lf
from lmeformula.errors import ModelError
from lmeformula.family.constant import LONGEST
from lmeformula.family.own_links import link_of_own
from lmeformula.family.predicted import predicted_of

tfb, tfd = tfp.bijectors, tfp.distributions


class Unsampled(tfd.Normal):
    def _sample_n(self, n, seed=None):
        raise NotImplementedError


class Bent(tfd.Normal):
    """A density whose gradient is not its own."""

    def _log_prob(self, value):
        return super()._log_prob(tf.stop_gradient(value - self.loc) + self.loc) + 0.1 * self.loc


class Noisy(tfd.Normal):
    def _log_prob(self, value):
        return super()._log_prob(value) * (1 + 1e-6 * tf.random.uniform([], dtype=tf.float64))


class Unsized(tfd.Binomial):
    """Draws by its trials, and a density by seven of them."""

    def __init__(self, trials, logits):
        super().__init__(trials, logits=logits)

    def _log_prob(self, value):
        return tfd.Binomial(7.0 + tf.zeros_like(self.logits), logits=self.logits).log_prob(value)


SCALE = {"scale": tfb.Exp()}
GUMBEL = {"name": "mine", "distribution": tfd.Gumbel, "parameters": SCALE}

# What is given otherwise than for a Gumbel family, what is wrong with it, and the cure.
MISTAKES = {
    "a name with blanks": ({"name": "my family"}, "cannot be called", "letters, digits"),
    "a built-in name": ({"name": "gamma"}, "built-in family called 'gamma'", "my_gamma"),
    "no function": ({"distribution": "gumbel"}, "'gumbel', not a function", "lambda mu, scale"),
    "another argument": (
        {"distribution": lambda mu, spread: tfd.Gumbel(mu, spread)},
        "does not take mu, scale",
        "lambda mu, scale: ...",
    ),
    "no distribution": (
        {"distribution": lambda mu, scale: mu * scale},
        "makes something of the type EagerTensor",
        "return a tfd.Distribution",
    ),
    "a mistake inside": (
        {"distribution": lambda mu, scale: tfd.Gumbel(mu, undefined)},  # noqa: F821
        "could not be made: NameError",
        "called with mu",
    ),
    "single precision": (
        {
            "distribution": lambda mu, scale: tfd.Gumbel(
                mu, np.float32(1) * tf.cast(scale, "float32")
            )
        },
        "could not be made",
        "float64",
    ),
    "vectors": (
        {"distribution": lambda mu, scale: tfd.Independent(tfd.Gumbel(mu, scale), 1)},
        r"events of the shape \(5,\)",
        "without tfd.Independent",
    ),
    "no rows": (
        {"distribution": lambda mu, scale: tfd.Gumbel(tf.reduce_mean(mu), scale)},
        r"batch shape \(\) for mu of the shape \(2, 5\)",
        "a row for each element",
    ),
    "rows that meet": (
        {"distribution": lambda mu, scale: tfd.Gumbel(mu - tf.reduce_mean(mu), scale)},
        "depends on the other rows",
        "no means or sums",
    ),
    "no sampler": ({"distribution": Unsampled}, "has no sampler", "`sample` works"),
    "a support too narrow": ({"support": "positive"}, "draws from its distribution are none", "="),
    "a support too wide": (
        {"distribution": lambda mu, scale: tfd.Gamma(scale, scale / mu), "link": "log"},
        r"log density .* for the response -2, one of the numbers that it takes",
        "support is too wide",
    ),
    "an unknown support": ({"support": "integers"}, "the support .* 'integers'", "'count'"),
    "a support of one answer": ({"support": lambda y: True}, "gives bool of the shape", "for each"),
    "a link that leaves the domain": (
        {"distribution": lambda mu, scale: tfd.Gamma(scale, scale / mu), "support": "positive"},
        "draws .* of the family 'mine' are no numbers at mu = -2, scale = 1",
        'link="log"',
    ),
    "an unknown link": ({"link": "sqrt"}, "no link 'sqrt'", "tfb.Bijector"),
    "a link that is a function": ({"link": tf.exp}, "not a tfb.Bijector", "tfb.Exp"),
    "a parameter that is a function": (
        {"parameters": {"scale": tf.exp}},
        "the parameter 'scale'",
        "Exp",
    ),
    "a bijector of vectors": (
        {"parameters": {"scale": tfb.Ascending()}},
        "a bijector of vectors",
        "bijector of scalars",
    ),
    "a bijector in single precision": (
        {"parameters": {"scale": tfb.Chain([tfb.Shift(1.0), tfb.Exp()])}},
        "the parameter 'scale' of the family 'mine' cannot be evaluated",
        r"np.float64\(1\)",
    ),
    "a bijector that is not one": (
        {"parameters": {"scale": tfb.Square()}},
        "not one-to-one",
        "Square",
    ),
    "bounds the wrong way": ({"parameters": {"scale": (2, 1)}}, r"bounds \(2, 1\)", "np.inf"),
    "values that the distribution does not take": (
        {"parameters": {"scale": tfb.Identity()}},
        "log density of the family 'mine' is nan",
        "a bijector is",
    ),
    "a parameter without effect": (
        {"distribution": lambda mu, scale: tfd.Gumbel(mu, tf.ones_like(mu))},
        "does not depend on the parameter 'scale'",
        "leave out",
    ),
    "a predictor without effect": (
        {"distribution": lambda mu, scale: tfd.Gumbel(tf.zeros_like(mu), scale)},
        "does not depend on the predictor",
        "Compute it from mu",
    ),
    "another gradient": ({"distribution": Bent}, "and its gradient says", "stop_gradient"),
    "random numbers": (
        {"distribution": Noisy},
        "another one when it is asked again",
        "random numbers",
    ),
    "a parameter called mu": ({"parameters": {"mu": tfb.Exp()}}, "argument besides mu", "scale"),
    "trials that are not taken": (
        {"support": "trials"},
        "does not take mu, scale, trials",
        "lambda mu, scale, trials: ...",
    ),
    "a parameter called trials": (
        {"support": "trials", "parameters": {"trials": tfb.Exp()}},
        "parameter called 'trials'",
        "otherwise",
    ),
    "trials that are ignored": (
        {
            "support": "trials",
            "parameters": {},
            "distribution": lambda mu, trials: tfd.Binomial(7.0 + 0.0 * mu, logits=mu),
        },
        "draws . successes out of 1 trials",
        "tfd.Binomial",
    ),
    "trials that only its draws know": (
        {
            "support": "trials",
            "parameters": {},
            "distribution": lambda mu, trials: Unsized(trials, mu),
        },
        "add up to .*, not to one",
        "`trials`",
    ),
    "a share that hangs on the trials": (
        {
            "support": "trials",
            "link": "logit",
            "parameters": {},
            "distribution": lambda mu, trials: tfd.Binomial(trials, probs=mu ** (trials / 7.0)),
        },
        "depends on the number of trials",
        "mean=",
    ),
    "a start of nothing": ({"start": {"shape": 2.0}}, "starts 'shape'", "They are: scale"),
    "a start out of bounds": ({"start": {"scale": -2.0}}, "starts 'scale' at -2", "inside"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_wrong_is_said_when_it_is_made(mistake):
    changes, problem, cure = MISTAKES[mistake]
    with pytest.raises(lf.ModelError, match=problem) as caught:
        lf.Family(**{**GUMBEL, **changes})
    if cure:
        assert caught.match(cure)


def test_good_families_are_not_refused():
    lf.Family("normal", tfd.Normal, parameters={"scale": (0, np.inf)})
    lf.Family("yes", lambda mu: tfd.Bernoulli(probs=mu), link="logit", support="binary")
    lf.Family("yes", lambda mu: tfd.Bernoulli(probs=mu), link="cauchit", support="binary")
    lf.Family("counts", lambda mu: tfd.Poisson(mu), link=tfb.Softplus(), support="count")
    lf.Family(
        "pareto",
        lambda mu: tfd.Pareto(1.0 + mu, tf.cast(2.0, mu.dtype)),
        link="log",
        support=lambda y: y >= 2.0,
    )
    lf.Family(
        "two",
        lambda mu, df, scale: tfd.StudentT(df, mu, scale),
        parameters={"df": tfb.Shift(np.float64(2))(tfb.Exp()), "scale": tfb.Softplus()},
        start={"df": 9.0},
    )


# A bijector or bounds, and the link of a formula for the parameter; None where there is none.
LINKS_OF_BOUNDS = {
    "positive": (tfb.Exp(), "log"),
    "softplus": (tfb.Softplus(), "log"),
    "chances": (tfb.Sigmoid(), "logit"),
    "anything": (tfb.Identity(), "identity"),
    "above one": ((1, np.inf), "log(. - 1)"),
    "above minus two": ((-2, np.inf), "log(. + 2)"),
    "between": ((0.5, 5.0), "logit((. - 0.5) / 4.5)"),
    "below": (
        tfb.Chain([tfb.Shift(np.float64(3)), tfb.Scale(np.float64(-1)), tfb.Exp()]),
        "log(3 - .)",
    ),
    "unknown": (
        tfb.Inline(
            forward_fn=lambda x: x + tf.sqrt(x**2 + 1.0),
            inverse_fn=lambda y: 0.5 * (y - 1.0 / y),
            forward_log_det_jacobian_fn=lambda x: tf.math.log1p(x / tf.sqrt(x**2 + 1.0)),
            forward_min_event_ndims=0,
        ),
        None,
    ),
}


@pytest.mark.parametrize("case", LINKS_OF_BOUNDS)
def test_a_formula_has_the_link_of_the_bounds(case):
    way, expected = LINKS_OF_BOUNDS[case]
    family = lf.Family("mine", lambda mu, b: tfd.Normal(mu, tf.exp(0.1 * b)), parameters={"b": way})
    assert [part.link for part in family.predicted] == ([] if expected is None else [expected])
    if expected is None:
        with pytest.raises(lf.ModelError, match=r"no parameter 'b' .*\n.*bounds"):
            predicted_of(family, "b")
        return
    (part,) = family.predicted
    link, (low, high) = link_of_own(part), part.bounds
    eta = np.array([-900.0, -20.0, -1.0, 0.0, 2.0, 20.0, 700.0])
    values = link.inverse(eta)
    assert (values >= low).all()
    assert (values <= high).all()
    np.testing.assert_allclose(link.tensor(tf.constant(eta)), values, rtol=1e-14)
    np.testing.assert_allclose(link.forward(values[2:5]), eta[2:5], rtol=1e-12, atol=1e-14)
    # That of a fit without a formula is the same parameter.
    assert low <= family.own(lf.design("y ~ 1 + (1 | g)", GROUPED)).start[0] <= high


GROUPED = {"y": np.linspace(-1.0, 2.0, 24) ** 3, "g": np.arange(24) % 4}


@tf.custom_gradient
def _slope(b):
    # TensorFlow has no gradient of this function: the third derivative is not to be had.
    without = tf.raw_ops.IgammaGradA(a=b, x=tf.ones_like(b))
    return 0.1 * tf.exp(0.1 * b), lambda up: up * (0.01 * tf.exp(0.1 * b) + 0.0 * without)


@tf.custom_gradient
def _rise(b):
    return tf.exp(0.1 * b), lambda up: up * _slope(b)


def test_a_density_of_two_derivatives_has_no_formula():
    way = {"b": tfb.Exp()}
    family = lf.Family("mine", lambda mu, b: tfd.Normal(mu, _rise(b)), parameters=way)
    assert family.predicted == ()
    with pytest.raises(lf.ModelError, match=r"no parameter 'b' .*\n.*three derivatives"):
        predicted_of(family, "b")
    smooth = lf.Family("mine", lambda mu, b: tfd.Normal(mu, tf.exp(0.1 * b)), parameters=way)
    assert [part.name for part in smooth.predicted] == ["b"]


def test_bounds_are_what_bijectors_tend_to():
    family = lf.Family(
        "two",
        lambda mu, df, scale: tfd.StudentT(df, mu, scale),
        parameters={"df": (2, 100), "scale": tfb.Softplus()},
    )
    assert family.scale.bounds == ((2.0, 100.0), (0.0, np.inf))
    free = np.array([0.3, -0.2])
    np.testing.assert_allclose(family.scale.to_free(family.scale.to_natural(free)), free)
    h = 1e-5
    up, down = family.scale.to_natural(free + h), family.scale.to_natural(free - h)
    np.testing.assert_allclose(np.diag(family.scale.jacobian(free)), (up - down) / (2 * h))
    second = np.diag(family.scale.jacobian(free + h) - family.scale.jacobian(free - h)) / (2 * h)
    bend = family.scale.bend(free, np.array([1.0, 3.0]))
    np.testing.assert_allclose(np.diag(bend), second * [1.0, 3.0], rtol=1e-8)


@pytest.mark.parametrize(("location", "scale"), [(0.0, 1.0), (5e3, 40.0), (-2.0, 3e-3)])
def test_the_start_is_where_the_data_are(location, scale):
    rng = np.random.default_rng(3)
    y = rng.gumbel(location, scale, 400)
    family = lf.Family(**GUMBEL)
    data = {"y": y, "g": np.arange(400) % 10}
    own = family.own(lf.design("y ~ 1 + (1 | g)", data))
    assert own.names == ("scale",)
    assert 0.8 < own.start[0] / scale < 1.25
    working = family.working((y,))
    assert abs(working.mean() - location) < 0.5 * scale
    assert np.abs(working - location).max() < (LONGEST + 1.0) * scale * 1.2


def test_responses_out_of_the_support_are_named():
    family = lf.Family(
        "mine",
        lambda mu, shape: tfd.Gamma(shape, shape / mu),
        link="log",
        parameters={"shape": tfb.Exp()},
        support="positive",
    )
    data = {"y": [1.0, 2.0, -3.0, 4.0] * 3, "g": list("abc") * 4}
    with pytest.raises(
        lf.ModelError, match=r"(?s)needs positive numbers.*3 rows are not.*row 2.*-3"
    ):
        lf.compile(lf.design("y ~ 1 + (1 | g)", data), family)


def test_single_precision_is_refused_where_the_distribution_has_not_got_it():
    family = lf.Family("mine", lambda mu: tfd.Gumbel(mu, np.float64(1.0)))
    with pytest.raises(
        lf.ModelError, match=r'does not take float32 numbers\nFit with dtype="float64"'
    ):
        family.distribution(tf.zeros([3]), (), ())


def test_a_mean_that_tfp_lacks_is_asked_for():
    class Unknown(tfd.Gumbel):
        def _mean(self):
            raise NotImplementedError

    eta, none = np.zeros(2), np.zeros(0)
    bare = lf.Family("mine", lambda mu: Unknown(mu, tf.ones_like(mu)))
    with pytest.raises(lf.ModelError, match=r"no mean in TFP\nGive lf.Family a function for it"):
        bare.mean(eta, none)
    given = lf.Family("mine", lambda mu: Unknown(mu, tf.ones_like(mu)), mean=lambda mu: mu + 2.0)
    assert given.mean(eta, none).tolist() == [2.0, 2.0]


class TestDensitiesThatNoFitCanUse:
    """Each is refused by the trial, in words."""

    def made(self, name, distribution, **options):
        options = {"parameters": {"b": tfp.bijectors.Exp()}, **options}
        return lf.Family(name, distribution, **options)

    def rowwise(self, density, sampler):
        class Made(tfp.distributions.Normal):
            def _log_prob(self, x):
                return density(self, x)

            def _sample_n(self, n, seed=None):
                return sampler(self, n, seed)

        return lambda mu, b: Made(mu, b)

    def normal(self, owner, n, seed):
        shape = tf.concat([[n], tf.shape(owner.loc)], 0)
        return owner.loc + owner.scale * tf.random.stateless_normal(shape, seed, dtype=tf.float64)

    def test_laplace_has_no_curvature(self):
        with pytest.raises(ModelError, match="no curvature in the predictor"):
            self.made("peaked", lambda mu, b: tfp.distributions.Laplace(mu, b))

    def test_a_density_that_does_not_integrate_to_one(self):
        family = self.rowwise(
            lambda d, x: -0.5 * ((x - d.loc) / d.scale) ** 2 - tf.math.log(d.scale) + d.loc,
            self.normal,
        )
        with pytest.raises(ModelError, match="slope in the predictor has the mean"):
            self.made("improper", family)

    def test_a_sampler_of_another_distribution(self):
        family = self.rowwise(
            lambda d, x: -0.5 * ((x - d.loc) / d.scale) ** 2 - tf.math.log(d.scale) - 0.9189385332,
            lambda d, n, seed: 2.0 * self.normal(d, n, seed) - d.loc,
        )
        with pytest.raises(ModelError, match="kinks or jumps, or does not integrate"):
            self.made("wide", family)

    def test_a_kink_beside_a_curve(self):
        # Half of the slope is a kink's: a peak of |x| on a parabola. The sampler is by rejection, seeded.
        def density(d, x):
            z = (x - d.loc) / d.scale
            return -tf.abs(z) - 0.5 * z**2 - tf.math.log(d.scale) - 0.27106868

        def sampler(d, n, seed):
            r = np.random.default_rng(np.asarray(seed).tolist())
            shape = (int(n), *d.loc.shape, 60)
            z, u = r.normal(size=shape), r.random(shape)
            first = np.argmax(u < np.exp(-np.abs(z)), axis=-1)
            drawn = np.take_along_axis(z, first[..., None], -1)[..., 0]
            return d.loc + d.scale * tf.constant(drawn, tf.float64)

        with pytest.raises(ModelError, match="kinks or jumps"):
            self.made("kinked", self.rowwise(density, sampler))
