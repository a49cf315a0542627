package clerktest

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"rollcall/internal/must"
)

// get asks and returns the status and the body.
func get(t *testing.T, c *Clerk, client *http.Client, address string) (int, string) {
	t.Helper()
	return getWith(t, client, c.Key(), address)
}

func getWith(t *testing.T, client *http.Client, key, address string) (int, string) {
	t.Helper()
	request := must.Get(http.NewRequestWithContext(t.Context(), http.MethodGet, address, http.NoBody))(t)
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := client.Do(request)
	must.Do(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		body = []byte("cut off")
	}
	return response.StatusCode, string(body)
}

// listed are the ids of a page.
func listed(t *testing.T, c *Clerk, query string) []string {
	t.Helper()
	status, body := get(t, c, c.Client(), Address+"/users"+query)
	if status != http.StatusOK {
		t.Fatalf("%s: %d %s", query, status, body)
	}
	var page []struct{ ID string }
	must.Do(t, json.Unmarshal([]byte(body), &page))
	ids := make([]string, len(page))
	for i, u := range page {
		ids[i] = u.ID
	}
	return ids
}

func TestLists(t *testing.T) {
	t.Parallel()
	c := New(t)
	ids := c.PutMany(30)
	backwards := slices.Clone(ids)
	slices.Reverse(backwards)
	const up = "?order_by=%2Bcreated_at"
	for query, want := range map[string][]string{
		"": backwards[:10],
		"?limit=12&order_by=-created_at&offset=20": backwards[20:],
		up + "&limit=500":                          ids,
		up + "&limit=3&offset=5":                   ids[5:8],
		up + "&starting_after=" + ids[25]:          ids[26:],
		"?limit=2&starting_after=" + ids[25]:       {ids[24], ids[23]},
		up + "&offset=99":                          {},
	} {
		must.Equal(t, listed(t, c, query), want, query)
	}
	for _, query := range []string{"?limit=501", "?limit=0", "?limit=x", "?offset=-1", "?order_by=+created_at", "?order_by=name"} {
		status, _ := get(t, c, c.Client(), Address+"/users"+query)
		must.Equal(t, status, http.StatusUnprocessableEntity, query)
	}
}

func TestServer(t *testing.T) {
	t.Parallel()
	c := New(t)
	id := c.PutMany(3)[1]
	for path, want := range map[string]string{
		"/users/" + id:       string(c.Object(id)),
		"/users/count":       `{"object":"total_count","total_count":3}`,
		"/users/nobody":      "404",
		"/users/" + id + "/": "404",
		"/sessions":          "404",
	} {
		status, body := get(t, c, http.DefaultClient, c.URL()+path)
		if status == http.StatusNotFound && strings.Contains(body, `"errors":[{`) {
			body = "404"
		}
		if body != want {
			t.Errorf("%s: got %d %s, want %s", path, status, body, want)
		}
	}
	if requests := c.Requests(); len(requests) != 5 || c.Requested(Count) != 1 || c.Requested(Single) != 2 || c.Requested(Other) != 2 {
		t.Errorf("%+v", requests)
	}
	c.CutNext(1)
	if _, body := get(t, c, http.DefaultClient, c.URL()+"/users/"+id); body != "cut off" {
		t.Errorf("not cut off: %s", body)
	}
	former := c.Key()
	c.SetKey("another")
	must.Equal(t, c.Key(), "another", "key")
	status, _ := getWith(t, http.DefaultClient, former, c.URL()+"/users/"+id)
	must.Equal(t, status, http.StatusUnauthorized, "with the former key: status")
}

func TestFailures(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t)
		answers := func(want ...int) {
			t.Helper()
			for _, status := range want {
				got, _ := get(t, c, c.Client(), Address+"/users/count")
				must.Equal(t, got, status, "status")
			}
		}
		c.FailNext(2, 502)
		answers(502, 502, 200)
		c.FailEvery(2, 500) // the three before count
		answers(500, 200, 500)
		c.FailEvery(0, 0)
		c.SetLimit(2, 10*time.Second)
		answers(200, 200, 429)
		time.Sleep(10 * time.Second)
		c.SetDelay(time.Second)
		begin := time.Now()
		answers(200) // the limit holds no more
		must.Equal(t, time.Since(begin), time.Second, "delay")
	})
}

func TestLag(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := New(t)
		ids := c.PutMany(3)
		time.Sleep(time.Second)
		c.SetLag(10 * time.Second)
		time.Sleep(20 * time.Second)
		c.Delete(ids[0])
		c.Update(ids[1], func(u *User) { u.FirstName = "Grace" })
		c.Put(User{FirstName: "Late"})
		name := func(id string) string {
			_, body := get(t, c, c.Client(), Address+"/users/"+id)
			var u struct {
				Name string `json:"first_name"`
			}
			_ = json.Unmarshal([]byte(body), &u)
			return u.Name
		}
		time.Sleep(9 * time.Second)
		if got := len(listed(t, c, "")); got != 3 || name(ids[0]) != "Ada" || name(ids[1]) != "Ada" || len(c.Users()) != 3 {
			t.Errorf("too early: %d, %s, %s", got, name(ids[0]), name(ids[1]))
		}
		time.Sleep(time.Second)
		if got := listed(t, c, ""); len(got) != 3 || slices.Contains(got, ids[0]) || name(ids[0]) != "" || name(ids[1]) != "Grace" {
			t.Errorf("too late: %v, %s, %s", got, name(ids[0]), name(ids[1]))
		}
	})
}

func TestHiddenUsers(t *testing.T) {
	t.Parallel()
	c := New(t)
	ids := c.PutMany(10)
	c.Hide(func(id string) bool { return slices.Index(ids, id)%2 == 0 })
	must.Equal(t, listed(t, c, "?order_by=%2Bcreated_at&offset=1&limit=2"), []string{ids[3], ids[5]}, "users")
	status, _ := get(t, c, c.Client(), Address+"/users/"+ids[0])
	must.Equal(t, status, http.StatusOK, "singly")
}

func TestManyUsers(t *testing.T) {
	t.Parallel()
	const many = 100_000
	c := New(t)
	ids := c.PutMany(many)
	for _, id := range ids[:100] {
		c.Delete(id)
	}
	after, n := ids[many-2000], 0
	for {
		page := listed(t, c, "?limit=500&order_by=%2Bcreated_at&starting_after="+after)
		if len(page) == 0 {
			break
		}
		n, after = n+len(page), page[len(page)-1]
	}
	if n != 1999 || len(c.Users()) != many-100 {
		t.Errorf("%d, %d", n, len(c.Users()))
	}
}
