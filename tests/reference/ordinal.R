# Ordinal fits for ordinal.json: Rscript tests/reference/ordinal.R lmeformula/data > tests/reference/ordinal.json
# Patterns of thresholds by clmm; stopping and continuation ratios by glmer and glmmTMB, each category that a row
# came to as a row of yes or no, which is the same likelihood. Its Laplace approximation takes the observed curvature;
# glmer takes the expected one, which is that of the logit link only, so that other links are glmmTMB's.
suppressMessages({library(ordinal); library(lme4); library(glmmTMB)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))))
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, data, formula, family, source, logLik, df, fixed, se, thresholds, alpha, alpha_se, sd)
  sprintf(paste0('{"id": "%s", "data": "%s", "formula": "%s", "family": "%s", "source": "%s, R %s", "logLik": %.10f, ',
                 '"df": %d, "fixed": %s, "fixed_se": %s, "thresholds": %s, "alpha": %s, "alpha_se": %s, "sd": %s}'),
          id, data, formula, family, source, getRversion(), logLik, df, numbers(fixed), numbers(se),
          numbers(thresholds), numbers(alpha), numbers(alpha_se), numbers(sd))
wine <- read("wine"); wine$rating <- factor(wine$rating); wine$judge <- factor(wine$judge)
soup <- read("soup"); soup$SURENESS <- factor(soup$SURENESS); soup$RESP <- factor(soup$RESP)
soup$PROD <- factor(soup$PROD)

tight <- clmm.control(grtol = 1e-8)
by_clmm <- function(id, data, name, formula, link, threshold) {
  fit <- clmm(formula, data = data, link = link, threshold = threshold, control = tight)
  se <- sqrt(diag(vcov(fit))); a <- length(fit$alpha); p <- length(fit$beta)
  family <- sprintf("cumulative(%s, thresholds=%s)", link, threshold)
  entry(id, name, paste(deparse(formula), collapse = ""), family, paste("ordinal", packageVersion("ordinal")),
        logLik(fit), attr(logLik(fit), "df"), fit$beta, se[a + seq_len(p)], fit$Theta, fit$alpha, se[seq_len(a)],
        sqrt(unlist(VarCorr(fit))))
}

expand <- function(data, response, number) {
  y <- as.integer(data[[response]])
  reached <- lapply(seq_len(number - 1), function(k) {
    rows <- data[y >= k, , drop = FALSE]
    rows$stops <- as.integer(y[y >= k] == k); rows$cut <- k
    rows
  })
  rows <- do.call(rbind, reached); rows$cut <- factor(rows$cut); rows
}
gtight <- glmerControl(optimizer = "bobyqa", tolPwrss = 1e-11, optCtrl = list(rhoend = 1e-9, maxfun = 1e5))
long <- glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-13))
by_rows <- function(id, data, name, formula, response, number, family, link) {
  rows <- expand(data, response, number)
  rows$event <- if (family == "sratio") rows$stops else 1 - rows$stops
  expanded <- as.formula(paste("event ~ 0 + cut +", paste(deparse(formula[[3]]), collapse = "")))
  if (link == "logit") {
    fit <- glmer(expanded, rows, binomial(link), control = gtight)
    beta <- fixef(fit); se <- sqrt(diag(as.matrix(vcov(fit)))); parts <- VarCorr(fit)
  } else {
    fit <- glmmTMB(expanded, rows, binomial(link), control = long)
    beta <- fixef(fit)$cond; se <- sqrt(diag(vcov(fit)$cond)); parts <- VarCorr(fit)$cond
  }
  source <- if (link == "logit") "lme4" else "glmmTMB"
  cuts <- seq_len(number - 1); sign <- if (family == "sratio") 1 else -1
  entry(id, name, paste(deparse(formula), collapse = ""), sprintf("%s(%s)", family, link),
        paste(source, packageVersion(source)), logLik(fit), attr(logLik(fit), "df"), -sign * beta[-cuts], se[-cuts],
        sign * beta[cuts], sign * beta[cuts], se[cuts], sapply(parts, attr, "stddev"))
}
taste <- rating ~ temp + contact + (1 | judge)
sure <- SURENESS ~ PROD + (1 | RESP)
entries <- c(
  by_clmm("wine-symmetric", wine, "wine", taste, "logit", "symmetric"),
  by_clmm("wine-equidistant", wine, "wine", taste, "logit", "equidistant"),
  by_clmm("soup-symmetric", soup, "soup", sure, "probit", "symmetric"),
  by_clmm("soup-equidistant", soup, "soup", sure, "logit", "equidistant"),
  by_rows("wine-sratio", wine, "wine", taste, "rating", 5, "sratio", "logit"),
  by_rows("wine-cratio-cloglog", wine, "wine", taste, "rating", 5, "cratio", "cloglog"),
  by_rows("soup-sratio", soup, "soup", sure, "SURENESS", 6, "sratio", "logit"),
  by_rows("soup-sratio-cloglog", soup, "soup", sure, "SURENESS", 6, "sratio", "cloglog"),
  by_rows("soup-cratio-cloglog", soup, "soup", sure, "SURENESS", 6, "cratio", "cloglog"))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
