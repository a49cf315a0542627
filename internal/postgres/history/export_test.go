package history

// What the package's tests reach.

var NewestSQL, NewestOfUsersSQL, CountSQL, NamedSQL, BeginningSQL = newestSQL.all, newestSQL.ofUsers, countSQL, namedSQL, beginningSQL
