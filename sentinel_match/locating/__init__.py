"""Pictures of unknown places: which scene of an archive shows one, where, and whether two show the same place."""
