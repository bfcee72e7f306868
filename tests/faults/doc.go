// Package faults holds tests of what goes wrong: clients that leave, flood, dawdle or lie, a process that is killed, a full disk, databases that come
// and go, damaged model files, a clock that jumps, signals during load. `make faults` runs all of it and writes docs/faults.md; as part of `go test`
// only a short version runs, on the fake model.
//
// $AIM_FAULTS makes the tests long, $AIM_FAULTS_BIN is the program for those that need the real one, and $AIM_FAULTS_DOC is the file that the
// figures are written to.
package faults
