//go:build !linux

package faults

const insideVariable = "AIM_FAULTS_MOUNTS"
