package capture

// What the package's tests reach.

var Followed = followed
