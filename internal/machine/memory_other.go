//go:build !linux && !darwin

package machine

func memory() Memory { return Memory{} }
