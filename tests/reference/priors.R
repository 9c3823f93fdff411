# Rscript priors.R > priors.json: posterior modes by blme, with the call of each.
suppressMessages({library(lme4); library(blme)})
options(digits = 15)
fine <- lmerControl(optimizer = "Nelder_Mead", check.conv.grad = "ignore", check.conv.hess = "ignore",
  optCtrl = list(maxfun = 1e6, FtolAbs = 1e-14, FtolRel = 1e-14, XtolRel = 1e-12))
gfine <- glmerControl(optimizer = c("bobyqa", "Nelder_Mead"), optCtrl = list(maxfun = 1e6), tolPwrss = 1e-12,
  check.conv.grad = "ignore", check.conv.hess = "ignore")
y <- c(0,1,1,1,1, 0,0,1,1,1, 1,0,1,1,1, 0,0,1,1,1, 0,0,1,1,1, 1,1,1,1,1, 0,0,1,1,1, 0,1,1,1,1, 0,0,1,1,1,
  0,0,1,1,1, 1,0,1,1,1, 0,0,1,1,1)
separated <- data.frame(y = y, g = factor(rep(1:12, each = 5)), x = rep(c(0, 0, 1, 1, 1), 12))
calls <- list(
  wishart = quote(blmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE, control = fine)),
  wishart_finite = quote(blmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE, control = fine,
    cov.prior = wishart(df = 5, scale = 30, common.scale = FALSE))),
  gamma = quote(blmer(Reaction ~ Days + (1 | Subject), sleepstudy, REML = FALSE, control = fine,
    cov.prior = gamma(shape = 2.5, rate = 0.5, common.scale = FALSE, posterior.scale = "sd"))),
  normal = quote(blmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = FALSE, control = fine,
    cov.prior = NULL, fixef.prior = normal(sd = c(250, 5), common.scale = FALSE))),
  boundary = quote(blmer(Yield ~ 1 + (1 | Batch), Dyestuff2, REML = FALSE, control = fine)),
  invgamma = quote(blmer(Yield ~ 1 + (1 | Batch), Dyestuff2, REML = FALSE, control = fine,
    cov.prior = invgamma(shape = 2, scale = 1, common.scale = FALSE, posterior.scale = "sd"),
    resid.prior = invgamma(shape = 3, scale = 10, posterior.scale = "sd"))),
  t = quote(blmer(Yield ~ 1 + (1 | Batch), Dyestuff, REML = FALSE, control = fine,
    cov.prior = gamma(shape = 2.5, rate = 0.01, common.scale = FALSE, posterior.scale = "sd"),
    fixef.prior = t(df = 3, scale = 1000^2, common.scale = FALSE))),
  wishart_reml = quote(blmer(Reaction ~ Days + (Days | Subject), sleepstudy, REML = TRUE, control = fine)),
  gamma_reml = quote(blmer(Reaction ~ Days + (1 | Subject), sleepstudy, REML = TRUE, control = fine,
    cov.prior = gamma(shape = 2.5, rate = 0.5, common.scale = FALSE, posterior.scale = "sd"))),
  cbpp = quote(bglmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, family = binomial,
    control = gfine, cov.prior = gamma(shape = 2.5, rate = 0.5, posterior.scale = "sd"),
    fixef.prior = normal(sd = c(5, 2.5)))),
  separated = quote(bglmer(y ~ x + (1 | g), separated, family = binomial, control = gfine,
    cov.prior = gamma(shape = 2.5, rate = 0.5, posterior.scale = "sd"), fixef.prior = normal(sd = c(5, 2.5)))),
  separated_t = quote(bglmer(y ~ 0 + x + (1 | g), separated, family = binomial, control = gfine,
    cov.prior = wishart(df = 4, scale = 2), fixef.prior = t(df = 3, scale = 2.5^2))))
numbers <- function(x) paste0("[", paste(sprintf("%.10f", x), collapse = ", "), "]")
shown <- lapply(names(calls), function(name) {
  m <- eval(calls[[name]])
  sprintf('    "%s": {\n      "call": "%s",\n      "fixef": %s,\n      "se": %s,\n      "sdcor": %s,\n      "sigma": %.10f,\n      "logLik": %.10f,\n      "penalty": %.10f\n    }',
    name, gsub('"', "'", gsub("\\s+", " ", paste(deparse(calls[[name]]), collapse = " "))), numbers(fixef(m)),
    numbers(sqrt(diag(as.matrix(vcov(m))))), numbers(as.data.frame(VarCorr(m))$sdcor), sigma(m),
    as.numeric(logLik(m)), m@devcomp$cmp["penalty"])
})
cat(sprintf('{\n  "versions": {"R": "%s.%s", "blme": "%s", "lme4": "%s"},\n  "fits": {\n%s\n  }\n}\n',
  R.version$major, R.version$minor, packageVersion("blme"), packageVersion("lme4"),
  paste(unlist(shown), collapse = ",\n")))
