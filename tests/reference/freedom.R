# Degrees of freedom of the designs of tests/result/random_designs.py, written as CSV files into the folder given:
#   python -c "from tests.result.random_designs import *; [frame(n, s).to_csv(f'DIR/{n}_{s}.csv', index=False) ...]"
#   Rscript freedom.R DIR > freedom.json
suppressMessages({library(lmerTest); library(pbkrtest); library(jsonlite)})
folder <- commandArgs(TRUE)[1]
formulas <- read.csv(file.path(folder, "formulas.csv"))
out <- list()
for (i in seq_len(nrow(formulas))) {
  d <- read.csv(file.path(folder, formulas$file[i]), stringsAsFactors = TRUE)
  weights <- if (grepl("^weights", formulas$file[i])) d$w else NULL
  d$ww <- if (is.null(weights)) rep(1, nrow(d)) else weights
  control <- lmerControl(optimizer = "bobyqa", optCtrl = list(maxfun = 1e5, rhoend = 1e-10), check.conv.singular = "ignore")
  fit <- suppressWarnings(suppressMessages(lmer(as.formula(formulas$formula[i]), d, REML = TRUE, weights = ww, control = control)))
  sat <- suppressWarnings(coef(summary(fit)))
  L <- diag(length(fixef(fit)))
  one <- list(logLik = as.numeric(logLik(fit)), singular = isSingular(fit), names = names(fixef(fit)),
              satterthwaite = sat[, "df"], std_error = sat[, "Std. Error"])
  if (is.null(weights)) {  # pbkrtest 0.5.2 leaves prior weights out
    V <- suppressWarnings(vcovAdj(fit))
    one$kr_se <- sqrt(diag(as.matrix(V)))
    one$kr_df <- apply(L, 1, function(l) Lb_ddf(l, vcov(fit), V))
  }
  out[[sub(".csv", "", formulas$file[i])]] <- one
}
about <- sprintf("lme4 %s, lmerTest %s, pbkrtest %s, %s", packageVersion("lme4"), packageVersion("lmerTest"), packageVersion("pbkrtest"), R.version.string)
cat(toJSON(list(versions = about, designs = out), digits = 10, auto_unbox = TRUE))
