package history

// What the package's tests reach.

var NewestSQL, NewestOfUsersSQL, CountSQL, NamedSQL = newestSQL.all, newestSQL.ofUsers, countSQL, namedSQL
