"""Sandbox: stranger's bytes are decoded in a process that can do nothing else and may be killed at any moment.

client    the server's side: slots, errors, results checked
process   the one zygote process behind it, and the socket to it
zygote    that process: has everything imported, runs nothing, forks a child per job
lockdown  what a child may still do: compute, and write to its reply socket
jobs      what children do
wire      how a result crosses back: JSON and blobs, never pickle, for the sender is not trusted
"""
