package history

import (
	_ "embed"
	"fmt"
)

// The statements; the files describe their parameters.
var (
	//go:embed beginning.sql
	beginningSQL string
	//go:embed bodies.sql
	bodiesSQL string
	//go:embed correct.sql
	correctSQL string
	//go:embed kinds.sql
	kindsSQL string
	//go:embed list.sql
	listSQL string
	//go:embed list_of_users.sql
	listOfUsersSQL string
	//go:embed count.sql
	countOfKindsSQL string
	//go:embed count_of_users.sql
	countOfUsersSQL string
	//go:embed named.sql
	namedOfKindsSQL string
)

// lists are the statements of an order.
type lists struct{ all, ofUsers string }

var (
	newestSQL = inOrder("desc", "<")
	oldestSQL = inOrder("asc", ">")
	countSQL  = kindsSQL + countOfKindsSQL
	namedSQL  = kindsSQL + namedOfKindsSQL
)

func inOrder(direction, behind string) lists {
	return lists{kindsSQL + fmt.Sprintf(listSQL, direction, behind), fmt.Sprintf(listOfUsersSQL, direction, behind)}
}
