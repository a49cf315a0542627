package postgres

// What the package's tests reach.

const ForgetPause = forgetPause

var ForgetEventsSQL, ForgetBodiesSQL, UnansweredSQL = forgetEventsSQL, forgetBodiesSQL, unansweredSQL
