// Package config reads aim.yaml: one file for how the server listens, where accounts are kept, which models are loaded and what is offered
// of them.
//
// A setting comes from its flag, else from the environment, else from the file, else it has its default. The types are the one place
// where a setting is declared: its name, default, domain, description, environment variable and schema come from there.
//
// Whatever is wrong with a file is told at once, each mistake with its place and what to write instead.
package config
