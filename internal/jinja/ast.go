package jinja

// Expressions.
type (
	expr interface{}

	constant struct{ value Value }
	name     struct {
		id string
	}
	tupleExpr struct{ items []expr }
	listExpr  struct{ items []expr }
	dictExpr  struct{ keys, values []expr }
	unary     struct {
		op string
		x  expr
	}
	binary struct {
		op          string
		left, right expr
	}
	concat  struct{ items []expr }
	compare struct {
		first expr
		ops   []string
		rest  []expr
	}
	// conditional is `then if test else other`; other may be nil.
	conditional struct{ test, then, other expr }
	attribute   struct {
		x  expr
		id string
	}
	index     struct{ x, at expr }
	sliceExpr struct{ from, to, step expr }
	call      struct {
		x expr
		arguments
		line int
	}
	// filterExpr is `x | id(...)`; x is nil in filter blocks.
	filterExpr struct {
		x  expr
		id string
		arguments
	}
	testExpr struct {
		x  expr
		id string
		arguments
	}
	arguments struct {
		args     []expr
		names    []string
		named    []expr
		star     expr
		starstar expr
	}
)

// Statements.
type (
	stmt interface{}

	output struct {
		// items are expressions; data is a constant.
		items []expr
		line  int
	}
	ifStmt struct {
		tests  []expr
		bodies [][]stmt
		other  []stmt
	}
	forStmt struct {
		target    expr
		iter      expr
		test      expr
		recursive bool
		body      []stmt
		other     []stmt
		line      int
	}
	setStmt struct {
		target expr
		value  expr
	}
	setBlock struct {
		target expr
		filter *filterExpr
		body   []stmt
	}
	// namespaceRef is the target of `set ns.attr = ...`.
	namespaceRef struct{ id, attr string }
	withStmt     struct {
		targets []expr
		values  []expr
		body    []stmt
	}
	macroStmt struct {
		id       string
		params   []string
		defaults []expr
		body     []stmt
		// uses tells which of varargs, kwargs and caller the body names.
		uses map[string]bool
	}
	callBlock struct {
		macro *macroStmt
		call  *call
	}
	filterBlock struct {
		filter *filterExpr
		body   []stmt
	}
	scopeStmt struct {
		body []stmt
		// escape is the expression of an autoescape block.
		escape expr
	}
	breakStmt    struct{}
	continueStmt struct{}
	// loadStmt is include, import, from or extends: there is nothing to load from.
	loadStmt struct{ template expr }
)
