# Repeated measures without a residual beside their covariance, for repeated.json: Rscript repeated.R DATA_FOLDER > repeated.json
suppressMessages({library(nlme); library(glmmTMB)})
folder <- commandArgs(trailingOnly = TRUE)[1]
read <- function(name) read.csv(gzfile(file.path(folder, paste0(name, ".csv.gz"))))
numbers <- function(x) paste0("[", paste(sprintf("%.12g", x), collapse = ", "), "]")
entry <- function(id, source, logLik, fixed, se, reml)
  sprintf(paste0('{"id": "%s", "source": "%s, R %s", "reml": %s, "logLik": %.10f, "df": %d, "fixed": %s, "fixed_se": %s}'),
          id, source, getRversion(), tolower(reml), logLik, attr(logLik, "df"), numbers(fixed), numbers(se))
gls_entry <- function(id, model, data, correlation, weights, method) {
  fit <- gls(model, data, correlation = correlation, weights = weights, method = method,
             control = glsControl(msTol = 1e-12, tolerance = 1e-10, msMaxIter = 500, maxIter = 500))
  # gls divides by n - p where it estimates by maximum likelihood.
  n <- if (method == "ML") sqrt((fit$dims$N - fit$dims$p) / fit$dims$N) else 1
  entry(paste(id, tolower(method), sep = "-"), paste0("gls of nlme ", packageVersion("nlme")), logLik(fit), coef(fit),
        sqrt(diag(vcov(fit))) * n, method == "REML")
}
growth <- read("Orthodont"); growth$Sex <- factor(growth$Sex, c("Male", "Female"))
growth$age <- as.numeric(growth$age); growth$visit <- factor(growth$age); growth$t <- as.integer(growth$visit)
# Some visits are missing.
fewer <- growth[seq_len(nrow(growth)) %% 7 != 3, ]
sleep <- read("sleepstudy"); sleep$day <- factor(sleep$Days)
each <- varIdent(form = ~ 1 | visit)
kinds <- list(us = list(corSymm(form = ~ t | Subject), each), cs = list(corCompSymm(form = ~ 1 | Subject), each),
              homcs = list(corCompSymm(form = ~ 1 | Subject), NULL), ar1 = list(corAR1(form = ~ t | Subject), NULL),
              hetar1 = list(corAR1(form = ~ t | Subject), each), diag = list(NULL, each))
entries <- c()
for (method in c("ML", "REML")) {
  for (kind in names(kinds)) for (rows in c("all", "fewer"))
    entries <- c(entries, gls_entry(paste("growth", rows, kind, sep = "-"), distance ~ visit * Sex,
                                    if (rows == "all") growth else fewer, kinds[[kind]][[1]], kinds[[kind]][[2]], method))
  entries <- c(entries, gls_entry("sleep-all-ar1", Reaction ~ Days, sleep, corAR1(form = ~ Days | Subject), NULL, method))
  fit <- glmmTMB(distance ~ visit * Sex + toep(0 + visit | Subject), fewer, dispformula = ~ 0, REML = method == "REML")
  entries <- c(entries, entry(paste("growth-fewer-toep", tolower(method), sep = "-"),
                              paste0("glmmTMB ", packageVersion("glmmTMB")), logLik(fit), fixef(fit)$cond,
                              sqrt(diag(vcov(fit)$cond)), method == "REML"))
}
cat("[\n", paste(entries, collapse = ",\n"), "\n]\n", sep = "")
