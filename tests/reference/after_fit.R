# Numbers for tests/result: degrees of freedom, F tests, marginal means, R2 and ICC.
# Rscript tests/reference/after_fit.R lmeformula/data tests/reference/after_fit.json
suppressPackageStartupMessages({library(lme4); library(lmerTest); library(pbkrtest); library(emmeans); library(performance)})
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
gtight <- glmerControl(tolPwrss = 1e-11, optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
sleep <- load_csv("sleepstudy")
sleep$Subject <- factor(sleep$Subject)
thin <- sleep[seq_len(nrow(sleep)) %% 7 != 0, ]
machines <- load_csv("Machines"); machines$Worker <- factor(machines$Worker); machines$Machine <- factor(machines$Machine)
machines <- machines[-c(2, 3, 6, 14, 26, 38), ]
oats <- load_csv("Oats"); for (v in c("Block", "Variety")) oats[[v]] <- factor(oats[[v]])
oats <- oats[-c(1, 2, 3, 5, 8, 13, 21, 34, 55), ]
cake <- load_csv("cake"); for (v in c("replicate", "recipe")) cake[[v]] <- factor(cake[[v]])
cake <- cake[-c(1, 2, 5, 40, 77, 78, 200), ]
cbpp <- load_csv("cbpp"); for (v in c("herd", "period")) cbpp[[v]] <- factor(cbpp[[v]])
ticks <- load_csv("grouseticks"); for (v in c("BROOD", "LOCATION", "YEAR", "INDEX")) ticks[[v]] <- factor(ticks[[v]])
plain <- function(frame) lapply(as.list(as.data.frame(frame)), function(col) if (is.factor(col)) as.character(col) else col)

out <- list(versions = sapply(c("lme4", "lmerTest", "pbkrtest", "emmeans", "performance", "insight"),
                              function(p) as.character(packageVersion(p))))
# The call names the data, which emmeans looks for.
lmm <- function(formula, data, REML = TRUE)
  eval(substitute(lmerTest::lmer(formula, data, REML = REML, control = tight)), parent.frame())
fits <- list(
  sleep = lmm(Reaction ~ Days + (Days | Subject), sleep),
  sleep_ml = lmm(Reaction ~ Days + (Days | Subject), sleep, REML = FALSE),
  thin = lmm(Reaction ~ Days + (Days | Subject), thin),
  thin_ml = lmm(Reaction ~ Days + (Days | Subject), thin, REML = FALSE),
  thin_diag = lmm(Reaction ~ Days + (Days || Subject), thin),
  machines = lmm(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), machines),
  oats = lmm(log(yield) ~ Variety + factor(nitro) + (1 | Block / Variety), oats),
  cake = lmm(angle ~ recipe * temp + (1 | recipe:replicate), cake)
)
contr <- options(contrasts = c("contr.sum", "contr.poly"))
summed <- list(oats = lmm(log(yield) ~ Variety + factor(nitro) + (1 | Block / Variety), oats),
               machines = lmm(score ~ Machine + (1 | Worker) + (1 | Worker:Machine), machines),
               cake = lmm(angle ~ recipe * temp + (1 | recipe:replicate), cake))
options(contr)
out$tests <- lapply(fits, function(fit) {
  satt <- coef(summary(fit, ddf = "Satterthwaite"))
  found <- list(logLik = as.numeric(logLik(fit)), names = rownames(satt), estimate = satt[, 1], se = satt[, 2], df = satt[, "df"])
  if (isREML(fit)) {
    kr <- coef(summary(fit, ddf = "Kenward-Roger"))
    found$kr_se <- kr[, 2]; found$kr_df <- kr[, "df"]
    found$kr_vcov <- as.vector(as.matrix(vcovAdj(fit)))
  }
  found
})
out$anova <- lapply(summed, function(fit) list(
  satterthwaite = plain(cbind(term = rownames(anova(fit)), as.data.frame(anova(fit)))),
  kenward_roger = plain(cbind(term = rownames(anova(fit)), as.data.frame(anova(fit, ddf = "Kenward-Roger"))))))
# all coefficients but the intercept at once: a test of several degrees, from either method
joint <- function(fit) {
  p <- length(fixef(fit)); L <- diag(p)[-1, , drop = FALSE]
  kr <- getKR(KRmodcomp(as(fit, "lmerMod"), L))
  list(satterthwaite = plain(contest(fit, L)), kr_F = unname(getKR(KRmodcomp(as(fit, "lmerMod"), L), "Fstat")),
       kr_df2 = unname(getKR(KRmodcomp(as(fit, "lmerMod"), L), "ddf")))
}
out$joint <- lapply(fits[c("machines", "oats", "cake", "thin_diag")], joint)

em <- function(x, ...) plain(summary(x, infer = c(TRUE, TRUE), ...))
of <- function(object, ...) emmeans(object, ..., lmer.df = "satterthwaite")
O <- fits$oats
out$emmeans <- list(
  oats_variety = em(of(O, "Variety")),
  oats_variety_kr = em(emmeans(O, "Variety", lmer.df = "kenward-roger")),
  oats_proportional = em(of(O, "Variety", weights = "proportional")),
  oats_nitro = em(of(O, "nitro")),
  oats_pairs_tukey = em(pairs(of(O, "nitro"))),
  oats_pairs_holm = em(pairs(of(O, "nitro")), adjust = "holm"),
  oats_pairs_sidak = em(pairs(of(O, "nitro")), adjust = "sidak"),
  oats_pairs_bonferroni = em(pairs(of(O, "nitro")), adjust = "bonferroni"),
  oats_ctrl_sidak = em(contrast(of(O, "nitro"), "trt.vs.ctrl"), adjust = "sidak"),
  oats_custom = em(contrast(of(O, "nitro"), list(linear = c(-3, -1, 1, 3), ends = c(-1, 0, 0, 1)))),
  cake_by = em(of(fits$cake, "recipe", by = "temp", at = list(temp = c(180, 220)))),
  cake_by_pairs = em(pairs(of(fits$cake, "recipe", by = "temp", at = list(temp = c(180, 220))))),
  cake_trends = em(emtrends(fits$cake, "recipe", var = "temp", lmer.df = "satterthwaite")),
  cake_joint = plain(joint_tests(fits$cake, lmer.df = "satterthwaite"))
)
P <- lmm(Reaction ~ poly(Days, 2) + (1 | Subject), sleep)
out$emmeans$poly <- em(of(P, "Days", at = list(Days = c(2, 5, 8))))
out$emmeans$poly_trend <- em(emtrends(P, "Days", var = "Days", at = list(Days = c(2, 8)), lmer.df = "satterthwaite"))
B <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial, control = gtight)
out$emmeans$cbpp_response <- em(emmeans(B, "period", type = "response"))
out$emmeans$cbpp_link <- em(emmeans(B, "period"))
out$emmeans$cbpp_odds <- em(pairs(emmeans(B, "period", type = "response")))
G <- glmer(TICKS ~ YEAR + scale(HEIGHT) + (1 | BROOD) + (1 | LOCATION), ticks, poisson, control = gtight)
out$emmeans$ticks_response <- em(emmeans(G, "YEAR", type = "response"))
out$emmeans$ticks_ratio <- em(pairs(emmeans(G, "YEAR", type = "response")))

icc_of <- function(fit) { x <- icc(fit); list(adjusted = x$ICC_adjusted, unadjusted = x$ICC_unadjusted) }
r2_of <- function(fit) { x <- r2_nakagawa(fit); list(conditional = unname(x$R2_conditional), marginal = unname(x$R2_marginal)) }
parts <- function(fit) { v <- insight::get_variance(fit); v[c("var.fixed", "var.random", "var.residual", "var.distribution", "var.dispersion")] }
shares <- list(sleep = fits$sleep, machines = fits$machines, oats = fits$oats, cake = fits$cake, cbpp = B, ticks = G)
out$variance <- lapply(shares, function(fit) c(icc_of(fit), r2_of(fit), parts(fit)))
probit <- glmer(cbind(incidence, size - incidence) ~ period + (1 | herd), cbpp, binomial("probit"), control = gtight)
out$variance$cbpp_probit <- c(icc_of(probit), r2_of(probit), parts(probit))
null <- glmer(TICKS ~ 1 + (1 | BROOD) + (1 | LOCATION), ticks, poisson, control = gtight)
out$ticks_null <- list(fixef = unname(fixef(null)), var = unname(sapply(VarCorr(null), function(v) v[1])))
writeLines(jsonlite::toJSON(out, digits = 12, auto_unbox = TRUE, pretty = TRUE), args[2])
