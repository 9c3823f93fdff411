# Correlations that fall with distance, for positions.json: Rscript positions.R DATA_FOLDER > positions.json
suppressMessages({library(nlme); library(glmmTMB)})
folder <- commandArgs(trailingOnly = TRUE)[1]
d <- read.csv(gzfile(file.path(folder, "sleepstudy.csv.gz")))
d <- d[(seq_len(nrow(d)) * 7) %% 5 != 1, ]
d$u <- d$Days; d$v <- (d$Days * 7) %% 5; d$one <- factor(1)
d$slow <- as.integer(d$Reaction + 20 * sin(3 * seq_len(nrow(d))) > 290)
d$t <- numFactor(d$u); d$p <- numFactor(d$u, d$v)
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, formula, source, logLik, sd, range, sigma, fixed, reml = FALSE, family = "gaussian")
  sprintf(paste0('{"id": "%s", "formula": "%s", "family": "%s", "source": "%s, R %s", "reml": %s, "logLik": %.10f, ',
                 '"sd": %.10g, "range": %.10g, "sigma": %.10g, "fixed": %s}'),
          id, formula, family, source, getRversion(), tolower(reml), logLik, sd, range, sigma, numbers(fixed))
nlme_is <- paste("gls of nlme", packageVersion("nlme")); tmb_is <- paste("glmmTMB", packageVersion("glmmTMB"))
entries <- c()
for (method in c("ML", "REML")) for (kind in c("exp", "gau")) for (where in c("u", "u + v")) {
  make <- list(exp = corExp, gau = corGaus)[[kind]]
  fit <- gls(Reaction ~ Days, d, method = method, control = glsControl(msTol = 1e-12, tolerance = 1e-10),
             correlation = make(c(5, .1), form = as.formula(paste("~", where, "| Subject")), nugget = TRUE))
  at <- coef(fit$modelStruct, unconstrained = FALSE)
  # The sd of gls is that of field and nugget together.
  total <- fit$sigma^2
  entries <- c(entries, entry(paste(kind, where, method), sprintf("Reaction ~ Days + %s(0 + %s | Subject)", kind, where),
    nlme_is, logLik(fit), sqrt(total * (1 - at[2])), at[1], sqrt(total * at[2]), coef(fit), method == "REML"))
}
tmb <- function(id, ours, theirs, start, family = gaussian) {
  fit <- glmmTMB(theirs, d, family, start = if (is.null(start)) NULL else list(theta = log(start)))
  theta <- exp(getME(fit, "theta"))
  range <- if (grepl("^ou", id)) 1 / theta[2] else theta[2]
  entry(id, ours, tmb_is, logLik(fit), theta[1], range, sigma(fit), fixef(fit)$cond, FALSE, if (is.null(start)) "bernoulli" else "gaussian")
}
entries <- c(entries,
  tmb("ou", "Reaction ~ Days + ou(0 + u | Subject)", Reaction ~ Days + ou(0 + t | Subject), c(48, 1 / 7)),
  tmb("one field", "Reaction ~ 1 + exp(0 + u + v | one)", Reaction ~ 1 + exp(0 + p | one), c(36, 13)),
  tmb("yes or no", "slow ~ Days + exp(0 + u | Subject)", slow ~ Days + exp(0 + t | Subject), NULL, binomial))
matern <- function(id, ours, theirs, start, reml = FALSE) {
  fit <- glmmTMB(theirs, d, start = list(theta = log(start)), REML = reml,
                 control = glmmTMBControl(optCtrl = list(iter.max = 1e4, eval.max = 1e4, rel.tol = 1e-14)))
  theta <- exp(getME(fit, "theta"))
  sub("}$", sprintf(', "smoothness": %.10g}', theta[3]),
      entry(id, ours, tmb_is, logLik(fit), theta[1], theta[2], sigma(fit), fixef(fit)$cond, reml))
}
entries <- c(entries,
  matern("mat u REML", "Reaction ~ Days + mat(0 + u | Subject)", Reaction ~ Days + mat(0 + t | Subject), c(48, 5, .8), TRUE))
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
