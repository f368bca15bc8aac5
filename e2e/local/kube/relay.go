package main

import (
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// relay listens in the namespace where it was started and connects in another one,
// so that programs on the machine reach the API server inside its network namespace.
func relay(args []string) error {
	flags := flag.NewFlagSet("quorate-relay", flag.ContinueOnError)
	listen := flags.String("listen", "", "address to listen on")
	namespace := flags.String("netns", "", "path of the network namespace to connect in")
	target := flags.String("to", "", "address to connect to in that namespace")
	if err := flags.Parse(args); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	dialer, err := startDialer(*namespace)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		go serve(conn.(*net.TCPConn), dialer, *target)
	}
}

type dialRequest struct {
	address string
	reply   chan dialReply
}

type dialReply struct {
	conn net.Conn
	err  error
}

// startDialer moves one thread into the namespace for good. A socket belongs to the
// namespace of the thread that made it, so every connection has to be made there.
func startDialer(namespace string) (chan<- dialRequest, error) {
	requests := make(chan dialRequest)
	entered := make(chan error)
	go func() {
		runtime.LockOSThread()
		entered <- enter(namespace)
		dialer := net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}
		for request := range requests {
			conn, err := dialer.Dial("tcp", request.address)
			request.reply <- dialReply{conn, err}
		}
	}()
	return requests, <-entered
}

func enter(namespace string) error {
	file, err := os.Open(namespace)
	if err != nil {
		return err
	}
	defer file.Close()
	return unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
}

func serve(client *net.TCPConn, dialer chan<- dialRequest, target string) {
	defer client.Close()
	reply := make(chan dialReply, 1)
	dialer <- dialRequest{target, reply}
	dialed := <-reply
	if dialed.err != nil {
		fmt.Fprintln(os.Stderr, dialed.err)
		return
	}
	server := dialed.conn.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		copyOneWay(server, client)
		close(done)
	}()
	copyOneWay(client, server)
	<-done
}

// copyOneWay passes the end of one direction on without ending the other.
func copyOneWay(to, from *net.TCPConn) {
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		from.Close()
		return
	}
	to.CloseWrite()
}
