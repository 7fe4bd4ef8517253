// A driver plugin as docker-machine's authors wrote them, with Go's own net/rpc and gob: the interface of
// libmachine 0.16 by hand, so that nothing has to be fetched. Its cloud is a folder, one file to a VM.
package main

import (
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/rpc"
	"os"
	"path/filepath"
	"strings"
	"time"

	"toy/mcnflag"
	"toy/rpcdriver"
)

const (
	running = 1
	stopped = 4
)

// Driver is stored as JSON in the machine's record.
type Driver struct {
	IPAddress, MachineName, SSHUser, SSHKeyPath, StorePath string
	SSHPort                                                int
	SwarmMaster                                            bool
	SwarmHost, SwarmDiscovery                              string
	Cloud, ID, Region, Token                               string
	Tags                                                   []string
	Size                                                   int
	Fast                                                   bool
	Fail                                                   string
}

// RPCServerDriver is what net/rpc serves.
type RPCServerDriver struct {
	driver *Driver
	close  chan bool
	beat   chan bool
}

func (d *Driver) file() string { return filepath.Join(d.Cloud, d.ID) }

func (d *Driver) fails(step string) error {
	if d.Fail == step+"-dies" {
		fmt.Fprintln(os.Stderr, "panic: runtime error: out of luck")
		os.Exit(2)
	}
	if d.Fail == step+"-hangs" {
		time.Sleep(time.Hour)
	}
	if d.Fail == step {
		return errors.New("the cloud refused to " + step)
	}
	return nil
}

func (d *Driver) set(state string) error {
	if _, err := os.Stat(d.file()); err != nil {
		return errors.New("no such VM: " + d.ID)
	}
	return os.WriteFile(d.file(), []byte(state), 0600)
}

func (r *RPCServerDriver) Close(_, _ *struct{}) error { r.close <- true; return nil }
func (r *RPCServerDriver) Heartbeat(_, _ *struct{}) error {
	r.beat <- true
	return nil
}
func (r *RPCServerDriver) GetVersion(_ *struct{}, reply *int) error {
	*reply = 1
	if os.Getenv("MACHINE_PLUGIN_DRIVER_NAME") == "toyfuture" {
		*reply = 2
	}
	return nil
}
func (r *RPCServerDriver) GetConfigRaw(_ *struct{}, reply *[]byte) (err error) {
	*reply, err = json.Marshal(r.driver)
	return err
}
func (r *RPCServerDriver) SetConfigRaw(data []byte, _ *struct{}) error {
	return json.Unmarshal(data, r.driver)
}
func (r *RPCServerDriver) GetCreateFlags(_ *struct{}, reply *[]mcnflag.Flag) error {
	*reply = []mcnflag.Flag{
		mcnflag.StringFlag{Name: "toy-cloud", Usage: "Folder that is the cloud", EnvVar: "TOY_CLOUD"},
		mcnflag.StringFlag{Name: "toy-region", Usage: "Region", EnvVar: "TOY_REGION", Value: "fra"},
		mcnflag.StringFlag{Name: "toy-token", Usage: "Access token", EnvVar: "TOY_TOKEN"},
		mcnflag.IntFlag{Name: "toy-size", Usage: "Size in cores", Value: 2},
		mcnflag.BoolFlag{Name: "toy-fast", Usage: "Use the fast kind"},
		mcnflag.StringSliceFlag{Name: "toy-tag", Usage: "Tag of the VM", EnvVar: "TOY_TAG"},
		&mcnflag.StringFlag{Name: "toy-fail", Usage: "Step that fails"},
		mcnflag.IntFlag{Name: "toy-ssh-port", Usage: "SSH port", Value: 22},
	}
	return nil
}
func (r *RPCServerDriver) SetConfigFromFlags(flags *rpcdriver.DriverOptions, _ *struct{}) error {
	o, d := *flags, r.driver
	d.Cloud, d.Region, d.Token = o.String("toy-cloud"), o.String("toy-region"), o.String("toy-token")
	d.Size, d.Fast, d.Tags = o.Int("toy-size"), o.Bool("toy-fast"), o.StringSlice("toy-tag")
	d.Fail, d.SSHPort = o.String("toy-fail"), o.Int("toy-ssh-port")
	d.SwarmMaster, d.SwarmHost = o.Bool("swarm-master"), o.String("swarm-host")
	d.SwarmDiscovery = o.String("swarm-discovery")
	o.String("engine-install-url")
	d.SSHUser = "toy"
	if d.Cloud == "" {
		return errors.New("toy driver requires the --toy-cloud option")
	}
	return nil
}
func (r *RPCServerDriver) PreCreateCheck(_, _ *struct{}) error { return r.driver.fails("check") }
func (r *RPCServerDriver) Create(_, _ *struct{}) error {
	d := r.driver
	fmt.Println("Creating SSH key...")
	if err := os.WriteFile(r.key(), []byte("a private key"), 0600); err != nil {
		return err
	}
	d.ID = fmt.Sprintf("vm-%s-%d", d.MachineName, time.Now().UnixNano())
	if err := os.WriteFile(d.file(), []byte("running"), 0600); err != nil {
		return err
	}
	fmt.Printf("Created \x1b[31m%s\n", d.ID)
	fmt.Fprintln(os.Stderr, "a debug line")
	if err := d.fails("create"); err != nil {
		return err
	}
	if d.Fail == "create-slow" {
		time.Sleep(2 * time.Second)
	}
	d.IPAddress = "10.9.8.7"
	return nil
}
func (r *RPCServerDriver) Remove(_, _ *struct{}) error {
	if err := r.driver.fails("remove"); err != nil {
		return err
	}
	if r.driver.ID == "" {
		return nil
	}
	err := os.Remove(r.driver.file())
	if os.IsNotExist(err) {
		return nil
	}
	return err
}
func (r *RPCServerDriver) Start(_, _ *struct{}) error {
	// Every start has another address, as in many a cloud.
	r.driver.IPAddress = "10.9.8.8"
	return r.driver.set("running")
}
func (r *RPCServerDriver) Stop(_, _ *struct{}) error    { return r.driver.set("stopped") }
func (r *RPCServerDriver) Kill(_, _ *struct{}) error    { return r.driver.set("stopped") }
func (r *RPCServerDriver) Restart(_, _ *struct{}) error { return r.driver.set("running") }
func (r *RPCServerDriver) GetState(_ *struct{}, reply *int) error {
	if err := r.driver.fails("state"); err != nil {
		return err
	}
	state, err := os.ReadFile(r.driver.file())
	if err != nil {
		return err
	}
	*reply = stopped
	if strings.TrimSpace(string(state)) == "running" {
		*reply = running
	}
	return nil
}
func (r *RPCServerDriver) DriverName(_ *struct{}, reply *string) error { *reply = "toy"; return nil }
func (r *RPCServerDriver) GetIP(_ *struct{}, reply *string) error {
	*reply = r.driver.IPAddress
	return nil
}
func (r *RPCServerDriver) GetMachineName(_ *struct{}, reply *string) error {
	*reply = r.driver.MachineName
	return nil
}
func (r *RPCServerDriver) GetSSHHostname(_ *struct{}, reply *string) error {
	*reply = r.driver.IPAddress
	return nil
}
func (r *RPCServerDriver) GetSSHUsername(_ *struct{}, reply *string) error {
	*reply = r.driver.SSHUser
	return nil
}
func (r *RPCServerDriver) GetSSHPort(_ *struct{}, reply *int) error {
	*reply = r.driver.SSHPort
	return nil
}
func (r *RPCServerDriver) GetSSHKeyPath(_ *struct{}, reply *string) error {
	*reply = r.key()
	return nil
}
func (r *RPCServerDriver) GetURL(_ *struct{}, reply *string) error {
	*reply = "tcp://" + r.driver.IPAddress + ":2376"
	return nil
}

func (r *RPCServerDriver) key() string {
	return filepath.Join(r.driver.StorePath, "machines", r.driver.MachineName, "id_rsa")
}

func main() {
	if os.Getenv("MACHINE_PLUGIN_TOKEN") != "42" {
		fmt.Fprintln(os.Stderr, "This is a Docker Machine plugin binary.")
		os.Exit(1)
	}
	gob.Register(new(rpcdriver.RPCFlags))
	gob.Register(new(mcnflag.IntFlag))
	gob.Register(new(mcnflag.StringFlag))
	gob.Register(new(mcnflag.StringSliceFlag))
	gob.Register(new(mcnflag.BoolFlag))
	r := &RPCServerDriver{driver: &Driver{}, close: make(chan bool), beat: make(chan bool)}
	if err := rpc.RegisterName("RPCServerDriver", r); err != nil {
		panic(err)
	}
	rpc.HandleHTTP()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	go http.Serve(listener, nil)
	for {
		select {
		case <-r.close:
			os.Exit(0)
		case <-r.beat:
		case <-time.After(10 * time.Second):
			os.Exit(1)
		}
	}
}
