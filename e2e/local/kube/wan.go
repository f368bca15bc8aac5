package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Packets that may wait on one link before the router drops like a full queue does.
const queuePacketsMax = 16384

// One direction between two datacenters, each given by the addresses that live there.
type link struct {
	From     []netip.Prefix `json:"from"`
	To       []netip.Prefix `json:"to"`
	DelayMs  float64        `json:"delay_ms"`
	JitterMs float64        `json:"jitter_ms"`
	queue    chan delayed
}

type delayed struct {
	due    time.Time
	packet []byte
}

// wan is a router on a TUN device that holds packets back for as long as a wide-area
// link would. The caller routes only inter-datacenter traffic into the device; what
// comes back out of it follows the main table. Order within a link is kept.
func wan(args []string) error {
	flags := flag.NewFlagSet("quorate-wan", flag.ContinueOnError)
	device := flags.String("device", "wan0", "name of the TUN device")
	config := flags.String("links", "", "file with the links as JSON")
	if err := flags.Parse(args); err != nil {
		return err
	}
	content, err := os.ReadFile(*config)
	if err != nil {
		return err
	}
	var links []*link
	if err := json.Unmarshal(content, &links); err != nil {
		return fmt.Errorf("%s: %w", *config, err)
	}
	tun, err := openTun(*device)
	if err != nil {
		return fmt.Errorf("cannot open %s: %w", *device, err)
	}
	for _, l := range links {
		l.queue = make(chan delayed, queuePacketsMax)
		go l.deliver(tun)
	}
	buffer := make([]byte, 65536)
	for {
		n, err := tun.Read(buffer)
		if err != nil {
			return err
		}
		if err := forward(tun, links, buffer[:n]); err != nil {
			return err
		}
	}
}

// openTun uses the blocking descriptor directly: the runtime's poller does not know
// a TUN device before it is attached.
func openTun(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

func forward(tun *os.File, links []*link, packet []byte) error {
	from, to, ok := addresses(packet)
	if !ok {
		return nil
	}
	for _, l := range links {
		if contains(l.From, from) && contains(l.To, to) {
			wait := l.DelayMs + rand.Float64()*l.JitterMs
			due := time.Now().Add(time.Duration(wait * float64(time.Millisecond)))
			select {
			case l.queue <- delayed{due, append([]byte(nil), packet...)}:
			default:
			}
			return nil
		}
	}
	_, err := tun.Write(packet)
	return err
}

func (l *link) deliver(tun *os.File) {
	for next := range l.queue {
		time.Sleep(time.Until(next.due))
		if _, err := tun.Write(next.packet); err != nil {
			fmt.Fprintln(os.Stderr, "dropped a packet:", err)
		}
	}
}

func addresses(packet []byte) (from, to netip.Addr, ok bool) {
	if len(packet) < 20 || packet[0]>>4 != 4 {
		return from, to, false
	}
	from = netip.AddrFrom4([4]byte(packet[12:16]))
	to = netip.AddrFrom4([4]byte(packet[16:20]))
	return from, to, true
}

func contains(prefixes []netip.Prefix, address netip.Addr) bool {
	for _, prefix := range prefixes {
		if prefix.Contains(address) {
			return true
		}
	}
	return false
}
