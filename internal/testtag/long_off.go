//go:build !long

package testtag

// Long says that random tests run at full size.
const Long = false
