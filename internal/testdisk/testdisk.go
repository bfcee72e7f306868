// Package testdisk gives tests a disk that is soon full.
package testdisk

import "os"

// inside is set in a process whose mounts are its own.
const inside = "AIM_TEST_MOUNTS"

// Inside says that the process is one that Small has started.
func Inside() bool { return os.Getenv(inside) != "" }
