package main

import (
	"encoding/json"

	"aim/server"
)

// parameters are the sampling parameters of requests, for package config.
type parameters struct{}

// Names implements [config.Parameters].
func (parameters) Names() []string {
	names, _ := server.TunableFields()
	return names
}

// Bounds implements [config.Parameters].
func (parameters) Bounds() []string {
	_, names := server.TunableFields()
	return names
}

// Check implements [config.Parameters].
func (parameters) Check(name string, value any) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return err
	}
	p := server.Policy{Defaults: map[string]json.RawMessage{name: raw}}
	return p.Check()
}
