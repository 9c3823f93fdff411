# Joint tests, means and pairwise contrasts of the designs of tests/result/odd_draws.py, from CSV files.
#   python -c "from tests.result.odd_draws import *; ..."   # SEED.csv for each, formulas.csv with seed, formula
#   Rscript odd_draws.R DIR > odd_draws.json
suppressMessages({library(lmerTest); library(emmeans); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
emm_options(lmer.df = "satterthwaite")
formulas <- read.csv(file.path(folder, "formulas.csv"))
plain <- function(t, columns) lapply(as.list(as.data.frame(t)[columns]), function(v) if (is.factor(v)) as.character(v) else v)
joint_of <- c("model term", "df1", "F.ratio"); means_of <- c("emmean", "SE"); pairs_of <- c("estimate", "SE")
quiet <- function(x) suppressWarnings(suppressMessages(x))
out <- list()
for (i in seq_len(nrow(formulas))) {
  d <- read.csv(file.path(folder, paste0(formulas$seed[i], ".csv")), stringsAsFactors = TRUE)
  f <- as.formula(formulas$formula[i])
  fit <- quiet(eval(bquote(lmer(.(f), d, control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9))))))
  one <- list(joint = tryCatch(plain(quiet(joint_tests(fit)), joint_of), error = function(e) conditionMessage(e)))
  for (v in intersect(c("a", "b", "c", "n", "same"), all.vars(f))) {
    one[[paste0("means_", v)]] <- tryCatch(plain(summary(quiet(emmeans(fit, v))), means_of), error = function(e) conditionMessage(e))
    one[[paste0("pairs_", v)]] <- tryCatch(plain(summary(pairs(quiet(emmeans(fit, v)), adjust = "none")), pairs_of), error = function(e) conditionMessage(e))
  }
  out[[as.character(formulas$seed[i])]] <- one
}
about <- sprintf("lme4 %s, lmerTest %s, emmeans %s, %s", packageVersion("lme4"), packageVersion("lmerTest"), packageVersion("emmeans"), R.version.string)
cat(toJSON(list(versions = about, designs = out), digits = 5, auto_unbox = TRUE, na = "null"))
