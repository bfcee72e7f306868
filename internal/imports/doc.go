// Package imports holds the test of which package may import which. The table is in its test, with the reasons.
package imports
