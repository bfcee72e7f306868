package config

import _ "embed"

// Example is a file with all settings, their defaults, and comments.
//
//go:embed aim.example.yaml
var Example []byte
