"""Every byte under the artifact root: journals, samples, locks, and reading them again."""
