def advice(choice, communicator): return None
