package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	v1 "github.com/raft-control-plane/control-plane/e2e/conformance/stubs/connectrpc/conformance/v1"
	"github.com/raft-control-plane/control-plane/e2e/conformance/stubs/connectrpc/conformance/v1/conformancev1connect"
)

// conformanceService answers each call as the call itself says: with which data,
// header, trailer, delay and error. Its first answer, or the error if there is none
// before it, also tells what arrived. Unimplemented is left to the embedded type.
type conformanceService struct {
	conformancev1connect.UnimplementedConformanceServiceHandler
}

// Unary implements ConformanceServiceHandler.
func (conformanceService) Unary(ctx context.Context, req *connect.Request[v1.UnaryRequest]) (*connect.Response[v1.UnaryResponse], error) {
	c := newCall(ctx, req)
	c.received = append(c.received, req.Msg)
	payload, err := c.answer(req.Msg.GetResponseDefinition())
	return respond(req.Msg.GetResponseDefinition(), &v1.UnaryResponse{Payload: payload}, err)
}

// IdempotentUnary implements ConformanceServiceHandler. It is called by GET.
func (conformanceService) IdempotentUnary(ctx context.Context, req *connect.Request[v1.IdempotentUnaryRequest]) (*connect.Response[v1.IdempotentUnaryResponse], error) {
	c := newCall(ctx, req)
	c.received = append(c.received, req.Msg)
	payload, err := c.answer(req.Msg.GetResponseDefinition())
	return respond(req.Msg.GetResponseDefinition(), &v1.IdempotentUnaryResponse{Payload: payload}, err)
}

// ClientStream implements ConformanceServiceHandler. The first message says what to
// answer.
func (conformanceService) ClientStream(ctx context.Context, stream *connect.ClientStream[v1.ClientStreamRequest]) (*connect.Response[v1.ClientStreamResponse], error) {
	c := &call{ctx: ctx, header: stream.RequestHeader()}
	var def *v1.UnaryResponseDefinition
	for stream.Receive() {
		if len(c.received) == 0 {
			def = stream.Msg().GetResponseDefinition()
		}
		c.received = append(c.received, proto.Clone(stream.Msg()))
	}
	if err := stream.Err(); err != nil {
		return nil, err
	}
	payload, err := c.answer(def)
	return respond(def, &v1.ClientStreamResponse{Payload: payload}, err)
}

// ServerStream implements ConformanceServiceHandler.
func (conformanceService) ServerStream(ctx context.Context, req *connect.Request[v1.ServerStreamRequest], stream *connect.ServerStream[v1.ServerStreamResponse]) error {
	c := newCall(ctx, req)
	c.received = append(c.received, req.Msg)
	s := &answers{call: c, def: req.Msg.GetResponseDefinition(), send: func(p *v1.ConformancePayload) error {
		if p == nil {
			return stream.Send(nil)
		}
		return stream.Send(&v1.ServerStreamResponse{Payload: p})
	}}
	s.head(stream.ResponseHeader(), stream.ResponseTrailer())
	if err := s.flush(); err != nil {
		return err
	}
	return s.rest()
}

// BidiStream implements ConformanceServiceHandler. The first message says what to
// answer, and whether to answer while more is coming.
func (conformanceService) BidiStream(ctx context.Context, stream *connect.BidiStream[v1.BidiStreamRequest, v1.BidiStreamResponse]) error {
	s := &answers{call: &call{ctx: ctx, header: stream.RequestHeader()}, send: func(p *v1.ConformancePayload) error {
		if p == nil {
			return stream.Send(nil)
		}
		return stream.Send(&v1.BidiStreamResponse{Payload: p})
	}}
	duplex := false
	for first := true; ; first = false {
		req, err := stream.Receive()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		s.received = append(s.received, req)
		if first {
			s.def, duplex = req.GetResponseDefinition(), req.GetFullDuplex()
			s.head(stream.ResponseHeader(), stream.ResponseTrailer())
		}
		if !duplex {
			continue
		}
		if s.sent >= len(s.def.GetResponseData()) {
			break
		}
		if first {
			if err := s.flush(); err != nil {
				return err
			}
		}
		if err := s.next(); err != nil {
			return err
		}
		s.received = nil // told with that answer
	}
	if !duplex {
		if err := s.flush(); err != nil {
			return err
		}
	}
	return s.rest()
}

// call is what arrived.
type call struct {
	ctx      context.Context
	header   http.Header
	received []proto.Message
	get      *v1.ConformancePayload_ConnectGetInfo
}

func newCall(ctx context.Context, req connect.AnyRequest) *call {
	c := &call{ctx: ctx, header: req.Header()}
	if req.HTTPMethod() == http.MethodGet {
		c.get = &v1.ConformancePayload_ConnectGetInfo{QueryParams: toHeaders(req.Peer().Query)}
	}
	return c
}

func (c *call) info() *v1.ConformancePayload_RequestInfo {
	info := &v1.ConformancePayload_RequestInfo{RequestHeaders: toHeaders(c.header), Requests: c.requests(), ConnectGetInfo: c.get}
	if end, ok := c.ctx.Deadline(); ok {
		info.TimeoutMs = new(time.Until(end).Milliseconds())
	}
	return info
}

func (c *call) requests() []*anypb.Any {
	var all []*anypb.Any
	for _, m := range c.received {
		a, err := anypb.New(m)
		if err != nil {
			panic(err) // it has just been unmarshalled
		}
		all = append(all, a)
	}
	return all
}

// fail returns the error asked for; with what arrived, if nothing else told it.
func (c *call) fail(asked *v1.Error, tell bool) error {
	err := connect.NewError(connect.Code(asked.GetCode()), errors.New(asked.GetMessage()))
	details := asked.GetDetails()
	if tell {
		info, failed := anypb.New(c.info())
		if failed != nil {
			return failed
		}
		details = append(details, info)
	}
	for _, d := range details {
		detail, failed := connect.NewErrorDetail(d)
		if failed != nil {
			return failed
		}
		err.AddDetail(detail)
	}
	return err
}

// answer makes the one answer of a call that has one.
func (c *call) answer(def *v1.UnaryResponseDefinition) (*v1.ConformancePayload, error) {
	if def.GetError() != nil {
		return nil, c.fail(def.GetError(), true)
	}
	return &v1.ConformancePayload{Data: def.GetResponseData(), RequestInfo: c.info()}, nil
}

// respond adds header, trailer and delay to the one answer of a call.
func respond[T any](def *v1.UnaryResponseDefinition, msg *T, err error) (*connect.Response[T], error) {
	time.Sleep(time.Duration(def.GetResponseDelayMs()) * time.Millisecond)
	if ce := new(connect.Error); errors.As(err, &ce) {
		addHeaders(ce.Meta(), def.GetResponseHeaders())
		addHeaders(ce.Meta(), def.GetResponseTrailers())
		return nil, ce
	}
	if err != nil {
		return nil, err
	}
	res := connect.NewResponse(msg)
	addHeaders(res.Header(), def.GetResponseHeaders())
	addHeaders(res.Trailer(), def.GetResponseTrailers())
	return res, nil
}

// answers are the answers of a stream.
type answers struct {
	*call
	def  *v1.StreamResponseDefinition
	send func(*v1.ConformancePayload) error // of nil: the header only
	sent int
}

func (s *answers) head(header, trailer http.Header) {
	addHeaders(header, s.def.GetResponseHeaders())
	addHeaders(trailer, s.def.GetResponseTrailers())
}

// flush sends the header before the first answer, which may take a while.
func (s *answers) flush() error {
	if len(s.def.GetResponseData()) == 0 {
		return nil
	}
	return s.send(nil)
}

// next sends the next answer. Only the first tells header and timeout.
func (s *answers) next() error {
	payload := &v1.ConformancePayload{Data: s.def.GetResponseData()[s.sent]}
	switch {
	case s.sent == 0:
		payload.RequestInfo = s.info()
	case len(s.received) > 0:
		payload.RequestInfo = &v1.ConformancePayload_RequestInfo{Requests: s.requests()}
	}
	time.Sleep(time.Duration(s.def.GetResponseDelayMs()) * time.Millisecond)
	s.sent++
	return s.send(payload)
}

// rest sends the answers that are left and ends the stream.
func (s *answers) rest() error {
	for s.sent < len(s.def.GetResponseData()) {
		if err := s.next(); err != nil {
			return err
		}
		s.received = nil
	}
	if s.def.GetError() != nil {
		return s.fail(s.def.GetError(), s.sent == 0)
	}
	return nil
}

func toHeaders(from map[string][]string) []*v1.Header {
	var out []*v1.Header
	for name, values := range from {
		out = append(out, &v1.Header{Name: name, Value: values})
	}
	return out
}

func addHeaders(to http.Header, from []*v1.Header) {
	for _, h := range from {
		for _, v := range h.GetValue() {
			to.Add(h.GetName(), v)
		}
	}
}
