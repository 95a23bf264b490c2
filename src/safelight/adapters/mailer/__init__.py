"""How mail leaves: to an SMTP server, or into a folder while developing."""
