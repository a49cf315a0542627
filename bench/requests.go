//go:build bench

package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"rollcall/internal/event"
	"rollcall/internal/source"
	"rollcall/internal/testevent"
)

const (
	// mark stands wherever a request differs from the next: 16 hexadecimal digits.
	mark      = "################"
	stampMark = "@@@@@@@@@@"
	signMark  = "~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~"
	path      = "/webhooks/clerk"
)

// mill makes signed user.created requests about new users. All have the same
// length, so that a second of load is one piece of memory.
type mill struct {
	secret   string         // whsec_…
	source   *source.Source // believes the mill
	key      []byte
	template []byte // a whole request
	body     int    // where its body begins
	marks    []int
	stamp    int
	sign     int
	next     uint64
	ordered  bool // ids grow, as Clerk's do; else new users fall anywhere among the others
}

func newMill() (*mill, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	m := &mill{secret: "whsec_" + base64.StdEncoding.EncodeToString(key), key: key}
	var err error
	m.source, err = source.New(source.Config{Name: "clerk", Provider: source.Clerk, SigningSecrets: []string{m.secret}})
	if err != nil {
		return nil, err
	}
	body, err := m.sample()
	if err != nil {
		return nil, fmt.Errorf("make the requests: %w", err)
	}
	head := "POST " + path + " HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: Svix-Webhooks/1.40\r\nAccept: */*\r\n" +
		"Content-Type: application/json\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n" +
		"svix-id: msg_2" + mark + "RollBench0\r\nsvix-timestamp: " + stampMark + "\r\nsvix-signature: v1," + signMark + "\r\n\r\n"
	m.template, m.body = []byte(head+string(body)), len(head)
	for from := 0; ; {
		at := bytes.Index(m.template[from:], []byte(mark))
		if at < 0 {
			break
		}
		m.marks = append(m.marks, from+at)
		from += at + len(mark)
	}
	m.stamp, m.sign = strings.Index(head, stampMark), strings.Index(head, signMark)
	return m, nil
}

// sample is the built-in user.created with marks for what tells users apart: 2 kB.
func (m *mill) sample() ([]byte, error) {
	x, _ := testevent.Find(m.source, "user.created")
	return testevent.Apply(x.Body(time.Now()), []testevent.Change{
		{Path: "data.id", Value: `"user_2` + mark + `RollBench0"`},
		{Path: "data.email_addresses[0].email_address", Value: `"` + mark + `@example.com"`},
		{Path: "data.username", Value: `"` + mark + `"`},
		{Path: "data.phone_numbers", Value: "[]"}, // without a telephone it has the usual size
		{Path: "data.primary_phone_number_id", Value: "null"},
		{Path: "data.external_accounts", Value: "[]"},
	})
}

// requests are signed and ready to be written to a connection. A signature is believed for
// five minutes.
type requests struct {
	all  []byte
	size int
}

func (r *requests) len() int        { return len(r.all) / r.size }
func (r *requests) at(n int) []byte { return r.all[n*r.size : (n+1)*r.size] }

// make signs the next n requests.
func (m *mill) make(n int) *requests {
	r := &requests{all: make([]byte, n*len(m.template)), size: len(m.template)}
	mac := hmac.New(sha256.New, m.key)
	stamp := strconv.FormatInt(time.Now().Unix(), 10)
	sum := make([]byte, 0, sha256.Size)
	for i := range n {
		request := r.at(i)
		m.fill(request, stamp)
		mac.Reset()
		fmt.Fprintf(mac, "msg_2%sRollBench0.%s.", request[m.marks[0]:m.marks[0]+len(mark)], stamp)
		mac.Write(request[m.body:])
		base64.StdEncoding.Encode(request[m.sign:], mac.Sum(sum))
	}
	return r
}

// fill writes a request about the next user.
func (m *mill) fill(request []byte, stamp string) {
	copy(request, m.template)
	n := scatter(m.next)
	if m.ordered {
		n = math.MaxUint64 - 1<<32 + m.next // after all users
	}
	who := fmt.Sprintf("%016x", n)
	m.next++
	for _, at := range m.marks {
		copy(request[at:], who)
	}
	copy(request[m.stamp:], stamp)
}

// scatter maps consecutive numbers to distant ones: new users fall anywhere
// in an index, as those with random ids do.
func scatter(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

// received is a request as Rollcall's handler sees it.
func (m *mill) received(request []byte) (source.Request, error) {
	_, lines, _ := bytes.Cut(request[:m.body], []byte("\r\n"))
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(lines))).ReadMIMEHeader()
	return source.Request{Header: http.Header(header), Body: request[m.body:], ReceivedAt: time.Now()}, err
}

// events are what Rollcall makes of n requests.
func (m *mill) events(n int) ([]event.Event, error) {
	r := m.make(n)
	list := make([]event.Event, n)
	for i := range list {
		request, err := m.received(r.at(i))
		if err != nil {
			return nil, err
		}
		list[i] = m.source.Decode(request)
		if list[i].User == nil {
			return nil, fmt.Errorf("decode a request: %s", list[i].Reason)
		}
	}
	return list, nil
}
