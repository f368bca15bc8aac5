// What the cluster's own tests run in a pod: there is no shell in these images.
//
//	toolbox serve DIR     answers GET / with the names and first lines of the files in DIR
//	toolbox write FILE TEXT
//	toolbox read FILE
//	toolbox lookup NAME [SERVER]   prints one address a line
//	toolbox fetch URL     prints the body
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const requestTimeout = 5 * time.Second

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: toolbox serve|write|read|lookup|fetch ARGUMENT [TEXT]")
	}
	switch args[0] {
	case "serve":
		return serve(args[1])
	case "write":
		if len(args) != 3 {
			return errors.New("write needs a file and a text")
		}
		return os.WriteFile(args[1], []byte(args[2]+"\n"), 0o644)
	case "read":
		content, err := os.ReadFile(args[1])
		fmt.Print(string(content))
		return err
	case "lookup":
		return lookup(args[1], args[2:])
	case "fetch":
		return fetch(args[1])
	}
	return fmt.Errorf("unknown command %s", args[0])
}

func serve(dir string) error {
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		for _, entry := range entries {
			content, _ := os.ReadFile(dir + "/" + entry.Name())
			fmt.Fprintf(w, "%s: %s", entry.Name(), content)
		}
		host, _ := os.Hostname()
		fmt.Fprintf(w, "from %s\n", host)
	})
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: requestTimeout}
	go func() {
		<-stop.Done()
		server.Close()
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func lookup(name string, servers []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	resolver := net.Resolver{PreferGo: true}
	if len(servers) > 0 {
		resolver.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(servers[0], "53"))
		}
	}
	addresses, err := resolver.LookupHost(ctx, name)
	for _, address := range addresses {
		fmt.Println(address)
	}
	return err
}

func fetch(url string) error {
	client := http.Client{Timeout: requestTimeout}
	response, err := client.Get(url)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(os.Stdout, response.Body)
	return err
}
