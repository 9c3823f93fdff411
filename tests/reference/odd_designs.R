# Joint tests, means and pairwise contrasts of the designs of tests/result/odd_designs.py, from CSV files.
#   python -c "from tests.result.odd_designs import *; ..."   # NAME.csv for each, formulas.csv with name, formula
#   Rscript odd_designs.R DIR > odd_designs.json
suppressMessages({library(lmerTest); library(emmeans); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
emm_options(lmer.df = "satterthwaite")
formulas <- read.csv(file.path(folder, "formulas.csv"))
plain <- function(t) lapply(as.list(as.data.frame(t)), function(v) if (is.factor(v)) as.character(v) else v)
out <- list()
for (i in seq_len(nrow(formulas))) {
  d <- read.csv(file.path(folder, paste0(formulas$name[i], ".csv")), stringsAsFactors = TRUE)
  f <- as.formula(formulas$formula[i])
  fit <- suppressMessages(eval(bquote(lmer(.(f), d, control = lmerControl(optimizer = "bobyqa", optCtrl = list(rhoend = 1e-9))))))
  one <- list(joint = tryCatch(plain(suppressMessages(joint_tests(fit))), error = function(e) conditionMessage(e)))
  facs <- intersect(c("a", "b", "c", "n"), all.vars(f))
  for (v in facs) {
    one[[paste0("means_", v)]] <- tryCatch({m <- suppressMessages(emmeans(fit, v)); plain(summary(m))}, error = function(e) conditionMessage(e))
    one[[paste0("pairs_", v)]] <- tryCatch(plain(summary(pairs(suppressMessages(emmeans(fit, v)), adjust = "none"))), error = function(e) conditionMessage(e))
  }
  if (all(c("a", "b") %in% facs))
    one$pairs_ab <- tryCatch(plain(summary(pairs(suppressMessages(emmeans(fit, ~ a * b)), adjust = "none"))), error = function(e) conditionMessage(e))
  out[[formulas$name[i]]] <- one
}
about <- sprintf("lme4 %s, lmerTest %s, emmeans %s, %s", packageVersion("lme4"), packageVersion("lmerTest"), packageVersion("emmeans"), R.version.string)
cat(toJSON(list(versions = about, designs = out), digits = 8, auto_unbox = TRUE, na = "null"))
