//go:build long

package testtag

const divisor = 1
