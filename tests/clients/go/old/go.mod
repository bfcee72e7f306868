// The last version of the client for Go that fails at a comment followed by an empty line.
module aim/tests/clients/go/old

go 1.26

require github.com/openai/openai-go/v3 v3.41.0

require (
	github.com/tidwall/gjson v1.18.0 // indirect
	github.com/tidwall/match v1.1.1 // indirect
	github.com/tidwall/pretty v1.2.1 // indirect
	github.com/tidwall/sjson v1.2.5 // indirect
)
