# Numbers for tests/result/test_profile.py and test_anova.py: profile intervals and likelihood-ratio tables.
# Rscript tests/reference/intervals.R lmeformula/data tests/reference/intervals.json
suppressPackageStartupMessages(library(lme4))
args <- commandArgs(TRUE)
load_csv <- function(name) read.csv(gzfile(file.path(args[1], paste0(name, ".csv.gz"))))
tight <- lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
gtight <- glmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
sleep <- load_csv("sleepstudy"); sleep$Subject <- factor(sleep$Subject)
pastes <- load_csv("Pastes"); pastes$batch <- factor(pastes$batch); pastes$cask <- factor(pastes$cask)
penicillin <- load_csv("Penicillin"); for (v in c("plate", "sample")) penicillin[[v]] <- factor(penicillin[[v]])
dyestuff2 <- load_csv("Dyestuff2"); dyestuff2$Batch <- factor(dyestuff2$Batch)
cbpp <- load_csv("cbpp"); for (v in c("herd", "period")) cbpp[[v]] <- factor(cbpp[[v]])
ml <- function(formula, data) lmer(formula, data, REML = FALSE, control = tight)
fits <- list(
  list("sleepstudy", "Reaction ~ Days + (Days | Subject)", ml(Reaction ~ Days + (Days | Subject), sleep)),
  list("sleepstudy", "Reaction ~ Days + (Days || Subject)", ml(Reaction ~ Days + (1 | Subject) + (0 + Days | Subject), sleep)),
  list("pastes", "strength ~ 1 + (1 | batch/cask)", ml(strength ~ 1 + (1 | batch/cask), pastes)),
  list("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", ml(diameter ~ 1 + (1 | plate) + (1 | sample), penicillin)),
  list("dyestuff2", "Yield ~ 1 + (1 | Batch)", ml(Yield ~ 1 + (1 | Batch), dyestuff2)))
interval <- function(fit) {
  # Steps of zeta a quarter of the default: the ends are interpolated.
  pr <- profile(fit, delta = sqrt(qchisq(0.99, 1)) / 32, maxpts = 400, signames = FALSE)
  ci <- suppressWarnings(confint(pr))
  list(names = rownames(ci), lower = unname(ci[, 1]), upper = unname(ci[, 2]))
}
profiles <- lapply(fits, function(f) c(list(data = f[[1]], formula = f[[2]]), interval(f[[3]])))
gm <- function(formula) glmer(formula, data = cbpp, family = binomial, control = gtight)
g1 <- gm(cbind(incidence, size - incidence) ~ period + (1 | herd))
gprof <- list(c(list(data = "cbpp", formula = "cbind(incidence, size - incidence) ~ period + (1 | herd)"), interval(g1)))
frame <- function(a) { a <- as.data.frame(a); names(a)[names(a) == "Pr(>Chisq)"] <- "p"; lapply(as.list(a), unname) }
s0 <- ml(Reaction ~ Days + (1 | Subject), sleep)
s1 <- fits[[2]][[3]]; s2 <- fits[[1]][[3]]
g0 <- gm(cbind(incidence, size - incidence) ~ 1 + (1 | herd))
tables <- list(
  list(data = "sleepstudy", formulas = c("Reaction ~ Days + (1 | Subject)", "Reaction ~ Days + (Days || Subject)", "Reaction ~ Days + (Days | Subject)"), table = frame(anova(s0, s1, s2))),
  list(data = "cbpp", formulas = c("cbind(incidence, size - incidence) ~ 1 + (1 | herd)", "cbind(incidence, size - incidence) ~ period + (1 | herd)"), table = frame(anova(g0, g1))))
out <- list(version = as.character(packageVersion("lme4")), R = R.version.string, profiles = profiles, laplace = gprof, tables = tables)
writeLines(jsonlite::toJSON(out, digits = 10, auto_unbox = TRUE, pretty = TRUE, na = "null"), args[2])
