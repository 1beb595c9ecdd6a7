"""The small process that closes the record of a killed run: started with it, ended with it."""
