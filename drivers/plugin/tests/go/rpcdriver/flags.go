// Package rpcdriver has the answers to options as libmachine sends them; gob names the type on the wire.
package rpcdriver

import "fmt"

// DriverOptions are what a driver reads.
type DriverOptions interface {
	String(key string) string
	StringSlice(key string) []string
	Int(key string) int
	Bool(key string) bool
}

// RPCFlags are they.
type RPCFlags struct{ Values map[string]interface{} }

func (r RPCFlags) get(key string) interface{} {
	value, ok := r.Values[key]
	if !ok {
		panic(fmt.Sprintf("%s is missing, and old drivers would misbehave", key))
	}
	return value
}

func (r RPCFlags) String(key string) string        { return r.get(key).(string) }
func (r RPCFlags) StringSlice(key string) []string { return r.get(key).([]string) }
func (r RPCFlags) Int(key string) int              { return r.get(key).(int) }
func (r RPCFlags) Bool(key string) bool            { return r.get(key).(bool) }
