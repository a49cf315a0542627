package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Row is a row as JSON values, in the order of its columns.
type Row []Value

// Value is a column of a Row.
type Value struct {
	Column string
	JSON   json.RawMessage
}

// ReadRow reads a row that PostgreSQL has written as a JSON object; "" is no row.
func ReadRow(object string) (Row, error) {
	if object == "" {
		return nil, nil
	}
	d := json.NewDecoder(bytes.NewReader([]byte(object)))
	var row Row
	_, err := d.Token()
	for err == nil && d.More() {
		var name json.Token
		if name, err = d.Token(); err != nil {
			break
		}
		v := Value{}
		v.Column, _ = name.(string) // a key is one
		err = d.Decode(&v.JSON)
		row = append(row, v)
	}
	if err != nil {
		return nil, fmt.Errorf("read a row: %w", err)
	}
	return row, nil
}

// Of is the value of a column; null where there is none.
func (r Row) Of(column string) json.RawMessage {
	for _, v := range r {
		if v.Column == column {
			return v.JSON
		}
	}
	return json.RawMessage("null")
}

// Object is the row as a JSON object; null without one.
func (r Row) Object() json.RawMessage {
	if len(r) == 0 {
		return json.RawMessage("null")
	}
	var object bytes.Buffer
	between := byte('{')
	for _, v := range r {
		name, err := json.Marshal(v.Column)
		if err != nil {
			continue // can't be: every text can be written
		}
		object.WriteByte(between)
		object.Write(name)
		object.WriteByte(':')
		object.Write(v.JSON)
		between = ','
	}
	object.WriteByte('}')
	return object.Bytes()
}
