# What the R workers share: their arguments, the data, and how results are printed; see common.py.

arguments <- commandArgs(trailingOnly = TRUE)
task <- list(
  path = arguments[1], formula = as.formula(arguments[2]), kind = arguments[3],
  factors = strsplit(arguments[4], ",")[[1]], method = arguments[5], more = as.integer(arguments[6])
)

read_data <- function(task) {
  data <- read.csv(task$path)
  for (name in task$factors) data[[name]] <- factor(data[[name]])
  data
}

# sds: a named numeric vector. With more than one fit asked for, short ones go on for half a second.
run <- function(task, package, fit, answer) {
  total <- 0
  number <- 0
  while (number <= task$more || (task$more > 0 && total < 0.5 && number < 60)) {
    times <- system.time(found <- fit())
    seconds <- times[["elapsed"]]
    total <- total + seconds
    number <- number + 1
    got <- answer(found)
    sds <- paste(sprintf('"%s": %.10g', names(got$sds), got$sds), collapse = ", ")
    cat(sprintf('result {"seconds": %.6f, "cpu": %.6f, "loglik": %.8f, "sds": {%s}, "version": "%s"}\n',
                seconds, times[[1]] + times[[2]], got$loglik, sds, as.character(packageVersion(package))))
  }
}

# From lists of covariance matrices by group, as VarCorr gives them.
sds_of <- function(blocks) {
  found <- c()
  for (group in names(blocks)) {
    sd <- sqrt(diag(as.matrix(blocks[[group]])))
    names(sd) <- if (length(sd) == 1) group else paste(group, rownames(as.matrix(blocks[[group]])), sep = ":")
    found <- c(found, sd)
  }
  found
}
