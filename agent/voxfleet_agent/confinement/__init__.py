"""What a lane's child may reach: guards of the system, chosen by what it offers and measured in a real child."""
