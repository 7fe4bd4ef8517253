// Prints what Go's encoder makes of the values that libmachine's plugins exchange, one line of hex each: the
// recordings in ../recorded.txt.
package main

import (
	"bytes"
	"encoding/gob"
	"fmt"

	"toy/mcnflag"
	"toy/rpcdriver"
)

type Request struct {
	ServiceMethod string
	Seq           uint64
}

type Response struct {
	ServiceMethod string
	Seq           uint64
	Error         string
}

// nested has an interface in an interface, for which types are defined in the middle of a value.
type nested struct {
	Inner  interface{}
	Number float64
	Small  int8
	List   [2]bool
	When   map[string]int
}

func record(name string, values ...interface{}) {
	var out bytes.Buffer
	encoder := gob.NewEncoder(&out)
	for _, value := range values {
		if err := encoder.Encode(value); err != nil {
			panic(err)
		}
	}
	fmt.Printf("%s %x\n", name, out.Bytes())
}

func main() {
	gob.Register(new(rpcdriver.RPCFlags))
	gob.Register(new(mcnflag.IntFlag))
	gob.Register(new(mcnflag.StringFlag))
	gob.Register(new(mcnflag.StringSliceFlag))
	gob.Register(new(mcnflag.BoolFlag))
	gob.Register(nested{})
	record("call", &Request{"RPCServerDriver.GetVersion", 1}, struct{}{}, &Request{"RPCServerDriver.SetConfigRaw", 2}, []byte("{}"))
	record("answers", &Response{"RPCServerDriver.GetVersion", 1, ""}, 1, &Response{"RPCServerDriver.Create", 2, "no quota"}, struct{}{})
	record("numbers", -1, 0, 127, 128, -129, 1<<40, uint64(1)<<63)
	record("flags", []mcnflag.Flag{
		mcnflag.StringFlag{Name: "toy-region", Usage: "Region", EnvVar: "TOY_REGION", Value: "fra"},
		mcnflag.IntFlag{Name: "toy-size", Value: 2},
		&mcnflag.BoolFlag{Name: "toy-fast"},
		mcnflag.StringSliceFlag{Name: "toy-tag", Value: []string{"a", "b"}},
		mcnflag.StringFlag{Name: "toy-token"},
	})
	var options rpcdriver.DriverOptions = &rpcdriver.RPCFlags{Values: map[string]interface{}{"toy-tag": []string{"a"}}}
	record("options", &options)
	var any interface{} = nested{Inner: nested{Inner: "deep", Number: 17.5}, Small: -3, List: [2]bool{true, false}, When: map[string]int{"x": 1}}
	record("nested", &any, &any)
}
