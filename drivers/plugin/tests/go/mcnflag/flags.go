// Package mcnflag has the option kinds of libmachine; gob names them on the wire.
package mcnflag

// Flag is one option.
type Flag interface{ String() string }

// StringFlag takes a text.
type StringFlag struct{ Name, Usage, EnvVar, Value string }

// StringSliceFlag takes many.
type StringSliceFlag struct {
	Name, Usage, EnvVar string
	Value               []string
}

// IntFlag takes a number.
type IntFlag struct {
	Name, Usage, EnvVar string
	Value               int
}

// BoolFlag takes nothing.
type BoolFlag struct{ Name, Usage, EnvVar string }

func (f StringFlag) String() string      { return f.Name }
func (f StringSliceFlag) String() string { return f.Name }
func (f IntFlag) String() string         { return f.Name }
func (f BoolFlag) String() string        { return f.Name }
