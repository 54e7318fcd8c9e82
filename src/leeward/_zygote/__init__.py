"""The zygote: imports the application once, audits itself, forks workers on request."""
