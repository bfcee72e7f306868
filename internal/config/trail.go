package config

// trail remembers where settings came from, by their paths.
type trail struct {
	origins map[string]Origin
}

// Origin says where a setting came from.
type Origin struct {
	// From is "default", "file", "environment" or "flag".
	From string
	// Name is the file, the variable or the flag.
	Name string
	// Line and Column are those in the file, from 1.
	Line, Column int
}
